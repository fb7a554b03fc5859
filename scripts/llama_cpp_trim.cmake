# Read by the source build of llama-cpp-python right after llama.cpp's own `project()`
# (-DCMAKE_PROJECT_llama.cpp_INCLUDE=<this file>). A plain variable set here wins over the
# cache entry that llama-cpp-python forces, because `option()` leaves plain variables alone
# (policy CMP0077, https://cmake.org/cmake/help/latest/policy/CMP0077.html).
# Why each line is here, and what it saves: docs/decisions/0002-llama-cpp-build.md.

# The Python package loads libllama and libggml only; `common` serves llama.cpp's programs.
set(LLAMA_BUILD_COMMON OFF)

# Warnings about somebody else's code cost compile time and tell our users nothing.
set(LLAMA_ALL_WARNINGS OFF)
