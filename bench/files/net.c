/*
 * TCP between guest and host, the same static program on both sides.
 *
 *   net serve PORT
 *   net ADDRESS PORT send|receive|ping SECONDS
 *
 * The client says what it wants with one byte, works for so many seconds and prints one line: units per second (KiB, or
 * round trips of 64 bytes each way) and units in all. What was sent counts when the server has said that it arrived.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES 64
static char buffer[128 * 1024];

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static void need(int holds, const char *what) {
  if (holds) return;
  perror(what);
  exit(1);
}

/* Reads or writes all of it; 0 at the end of the stream. */
static int whole(int fd, int writing, char *bytes, size_t size) {
  size_t done = 0;
  while (done < size) {
    ssize_t n = writing ? write(fd, bytes + done, size - done) : read(fd, bytes + done, size - done);
    if (n <= 0) return 0;
    done += n;
  }
  return 1;
}

static void serve_one(int fd) {
  char wish;
  ssize_t n;
  if (read(fd, &wish, 1) != 1) return;
  if (wish == 's') {
    uint64_t bytes = 0;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) bytes += n;
    whole(fd, 1, (char *)&bytes, sizeof bytes);
  } else if (wish == 'r') {
    while (send(fd, buffer, sizeof buffer, MSG_NOSIGNAL) > 0) {}
  } else {
    while (whole(fd, 0, buffer, MESSAGE_BYTES) && whole(fd, 1, buffer, MESSAGE_BYTES)) {}
  }
}

static void serve(struct sockaddr_in *address) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  address->sin_addr.s_addr = INADDR_ANY;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  need(bind(fd, (struct sockaddr *)address, sizeof *address) == 0, "bind");
  need(listen(fd, 4) == 0, "listen");
  for (;;) {
    int client = accept(fd, 0, 0);
    if (client < 0) continue;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    serve_one(client);
    close(client);
  }
}

int main(int count, char **words) {
  struct sockaddr_in address = { .sin_family = AF_INET };
  uint64_t units = 0;
  double begin, end, seconds;
  int one = 1, fd;
  ssize_t n;
  if (count == 3) {
    address.sin_port = htons(atoi(words[2]));
    serve(&address);
  }
  if (count != 5) return 64;
  address.sin_port = htons(atoi(words[2]));
  inet_pton(AF_INET, words[1], &address.sin_addr);
  seconds = atof(words[4]);
  fd = socket(AF_INET, SOCK_STREAM, 0);
  need(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  begin = now();
  end = begin + seconds;
  need(write(fd, words[3], 1) == 1, "write");
  if (words[3][0] == 's') {
    while (now() < end) need(write(fd, buffer, sizeof buffer) > 0, "write");
    shutdown(fd, SHUT_WR);
    need(whole(fd, 0, (char *)&units, sizeof units), "what arrived");
    units /= 1024;
  } else if (words[3][0] == 'r') {
    while (now() < end) {
      need((n = read(fd, buffer, sizeof buffer)) > 0, "read");
      units += n;
    }
    units /= 1024;
  } else {
    while (now() < end) {
      need(whole(fd, 1, buffer, MESSAGE_BYTES) && whole(fd, 0, buffer, MESSAGE_BYTES), "ping");
      units++;
    }
  }
  printf("%.0f %llu\n", units / (now() - begin), (unsigned long long)units);
  return 0;
}
