#ifndef COUNT_H
#define COUNT_H

#include <stdio.h>

struct counts {
    unsigned long lines;
    unsigned long words;
    unsigned long bytes;
};

/* Counts what is left of `input`. */
struct counts count(FILE *input);

#endif
