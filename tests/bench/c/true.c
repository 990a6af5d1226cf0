/* Nothing, successfully: what a container runs, linked statically, so that it needs no other file. */
int main(void) { return 0; }
