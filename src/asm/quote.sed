# Turns a text into a C string literal, a line at a time.
s/[\\"]/\\&/g
s/.*/"&\\n"/
