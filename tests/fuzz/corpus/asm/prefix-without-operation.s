.macro m
rep ,x
.endm
