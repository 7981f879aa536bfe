/* SPDX-License-Identifier: BSD-2-Clause */
/* Pipes: bytes in order, blocking and not, ends that close. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

enum { BYTES = 4u << 20, ROUND_TRIPS = 3000, CHAIN = 12 };

static void stream(int from, int to)
{
    static uint8_t buffer[70000];
    const unsigned bytes = BYTES / suite_scale;
    uint32_t seed = 7, check = 7, sizes = 3;
    pid_t pid = start_process();
    unsigned done = 0;

    if (pid == 0) {
        close(from);
        while (done < bytes) {
            unsigned n = 1 + next_random(&sizes) % sizeof(buffer);

            if (n > bytes - done)
                n = bytes - done;
            for (unsigned i = 0; i < n; i++)
                buffer[i] = next_random(&seed);
            for (unsigned at = 0; at < n;) {
                ssize_t w = write(to, buffer + at, n - at);

                EXPECT(w > 0, "write: %s", strerror(errno));
                at += w;
            }
            done += n;
        }
        _exit(0);
    }
    close(to);
    for (;;) {
        ssize_t n = read(from, buffer, 1 + next_random(&sizes) % sizeof(buffer));

        EXPECT(n >= 0, "read: %s", strerror(errno));
        if (n == 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            EXPECT(buffer[i] == (uint8_t)next_random(&check), "byte %u", done + (unsigned)i);
        done += n;
    }
    EXPECT(done == bytes, "%u bytes of %u came", done, bytes);
    close(from);
    expect_success(pid, "writer");
}

static void pipe_contents(void)
{
    int ends[2], back[2], chain[CHAIN + 1][2];
    struct pollfd poller;
    uint32_t word = 0;
    pid_t pid, link[CHAIN];
    unsigned room = 0;

    EXPECT(pipe(ends) == 0, "pipe: %s", strerror(errno));
    stream(ends[0], ends[1]);
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair: %s", strerror(errno));
    stream(ends[0], ends[1]);

    EXPECT(pipe(ends) == 0 && pipe(back) == 0, "pipe: %s", strerror(errno));
    pid = start_process();
    if (pid == 0) {
        for (unsigned i = 0; i < ROUND_TRIPS / suite_scale; i++) {
            EXPECT(read(ends[0], &word, 4) == 4, "read: %s", strerror(errno));
            word = word * 3 + 1;
            EXPECT(write(back[1], &word, 4) == 4, "write: %s", strerror(errno));
        }
        _exit(0);
    }
    for (unsigned i = 0; i < ROUND_TRIPS / suite_scale; i++) {
        word = i;
        EXPECT(write(ends[1], &word, 4) == 4 && read(back[0], &word, 4) == 4 && word == i * 3 + 1,
               "round trip %u", i);
    }
    expect_success(pid, "the other end");

    poller = (struct pollfd){.fd = ends[0], .events = POLLIN};
    EXPECT(poll(&poller, 1, 0) == 0, "poll of an empty pipe");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    EXPECT(read(ends[0], &word, 4) == -1 && errno == EAGAIN, "read of an empty pipe");
    while (write(ends[1], &word, 4) == 4)
        room += 4;
    EXPECT(errno == EAGAIN && room == 65536, "a pipe took %u bytes", room);
    EXPECT(poll(&poller, 1, 0) == 1 && poller.revents == POLLIN, "poll of a full pipe");
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    EXPECT(write(ends[1], &word, 4) == -1 && errno == EPIPE, "write to a pipe without a reader");

    /* A word through a chain of processes, each of which adds one. */
    for (unsigned i = 0; i <= CHAIN; i++)
        EXPECT(pipe(chain[i]) == 0, "pipe: %s", strerror(errno));
    for (unsigned i = 0; i < CHAIN; i++) {
        link[i] = start_process();
        if (link[i] == 0) {
            for (unsigned n = 0; n < 100; n++) {
                EXPECT(read(chain[i][0], &word, 4) == 4, "read: %s", strerror(errno));
                word++;
                EXPECT(write(chain[i + 1][1], &word, 4) == 4, "write: %s", strerror(errno));
            }
            _exit(0);
        }
    }
    for (unsigned n = 0; n < 100; n++) {
        word = n * 1000;
        EXPECT(write(chain[0][1], &word, 4) == 4 && read(chain[CHAIN][0], &word, 4) == 4 &&
                   word == n * 1000 + CHAIN,
               "word %u through the chain", n);
    }
    for (unsigned i = 0; i < CHAIN; i++)
        expect_success(link[i], "link");
}

const struct test pipe_tests[] = {
    {"pipe-contents", pipe_contents, 120},
    {0},
};
