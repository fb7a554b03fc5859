"""What the shape of the component costs, measured: `python -m bench`, or `make bench`.

`models` finds or makes the model files, `cases` are the four comparisons, `bare` is the plain loop
over llama-cpp-python that they are held against, `report` prints and stores. Nothing is a test:
wall time on a busy machine proves nothing, which is why runs alternate and the range is printed.
"""
