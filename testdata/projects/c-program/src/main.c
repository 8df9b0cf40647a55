#include "count.h"

#include <string.h>

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        puts("wordcount 1.0");
        return 0;
    }
    FILE *input = argc > 1 ? fopen(argv[1], "r") : stdin;
    if (input == NULL) {
        perror(argv[1]);
        return 1;
    }
    struct counts counts = count(input);
    printf("%lu %lu %lu\n", counts.lines, counts.words, counts.bytes);
    return 0;
}
