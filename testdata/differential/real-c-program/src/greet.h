int greet(const char *whom);
