/* The smallest thing worth supervising: answers every connection on a port with its pid.
   With a second argument it first starts what a stop must find: a child in a session of its own, and a double-forked daemon,
   both deaf to SIGTERM. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void linger(void) {
    signal(SIGTERM, SIG_IGN);
    setsid();
    for (;;) pause();
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    char *starts = getenv("TINY_STARTS"); /* a byte for every start, to count the copies that find the port taken */
    if (starts) { FILE *file = fopen(starts, "a"); if (file) { fputc('x', file); fclose(file); } }
    if (argc > 2) {
        if (fork() == 0) linger();
        if (fork() == 0) {
            if (fork() == 0) { setsid(); if (fork() == 0) linger(); _exit(0); }
            _exit(0);
        }
    }
    int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 64)) { perror("bind"); return 1; }
    char text[32];
    snprintf(text, sizeof text, "%d", getpid());
    for (;;) {
        int client = accept(server, 0, 0);
        if (client < 0) continue;
        if (write(client, text, strlen(text)) < 0) perror("write");
        close(client);
    }
}
