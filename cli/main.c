#include <stdio.h>
int main(void) {
  puts("poe");
  return 0;
}
