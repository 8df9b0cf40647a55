#include "count.h"

#include <ctype.h>
#include <stdbool.h>

struct counts count(FILE *input) {
    struct counts counts = {0, 0, 0};
    bool in_word = false;
    for (int byte = getc(input); byte != EOF; byte = getc(input)) {
        counts.bytes++;
        counts.lines += byte == '\n';
        counts.words += !isspace(byte) && !in_word;
        in_word = !isspace(byte);
    }
    return counts;
}
