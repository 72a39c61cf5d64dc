/* Preloaded into the processes of a run: what they do with files under one directory fails, or takes its time, while a page of memory
   that they share with whoever started them says so. See faults.py, which writes that page. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct page { volatile int32_t error, permille, delay_us, count; };

static struct page none, *page = &none;
static char prefix[PATH_MAX];
static size_t prefix_length;
static __thread uint64_t state;

static void __attribute__((constructor)) begin(void)
{
    const char *control = getenv("CHAOS_CONTROL"), *under = getenv("CHAOS_UNDER");
    if (control == NULL || under == NULL)
        return;
    int descriptor = open(control, O_RDWR | O_CLOEXEC);
    if (descriptor < 0)
        return;
    void *found = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (found == MAP_FAILED)
        return;
    snprintf(prefix, sizeof prefix, "%s/", under);
    prefix_length = strlen(prefix);
    page = found;
}

static int unlucky(int permille)
{
    struct timespec now;
    if (state == 0) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        state = (uint64_t)now.tv_nsec * 2654435761u + (uint64_t)getpid();
    }
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % 1000) < permille;
}

/* Wait if all is slow; tell whether this call fails, with errno set. */
static int strikes(const char *path)
{
    if (page->permille == 0 || strncmp(path, prefix, prefix_length) != 0)
        return 0;
    if (!unlucky(page->permille))
        return 0;
    __sync_fetch_and_add(&page->count, 1);
    if (page->delay_us > 0)
        usleep((useconds_t)page->delay_us);
    if (page->error == 0)
        return 0;
    errno = page->error;
    return 1;
}

static int strikes_open(int descriptor)
{
    char name[64], path[PATH_MAX];
    if (page->permille == 0)
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strikes(path);
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (real == NULL) \
        real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    return strikes_open(fd) ? -1 : real(fd, data, size);
}

ssize_t read(int fd, void *data, size_t size)
{
    REAL(ssize_t, read, int, void *, size_t);
    return strikes_open(fd) ? -1 : real(fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    return strikes_open(fd) ? -1 : real(fd, data, size, offset);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    REAL(ssize_t, pread, int, void *, size_t, off_t);
    return strikes_open(fd) ? -1 : real(fd, data, size, offset);
}

/* A sync that fails has often written all the same. */
int fsync(int fd)
{
    REAL(int, fsync, int);
    int fails = strikes_open(fd), error = errno, result = real(fd);
    if (fails) {
        errno = error;
        return -1;
    }
    return result;
}

/* These two fail before or, at every second strike, after they have happened. */
int link(const char *from, const char *to)
{
    REAL(int, link, const char *, const char *);
    int fails = strikes(to), error = errno, result = fails && (state >> 40) % 2 ? -1 : real(from, to);
    if (fails) {
        errno = error;
        return -1;
    }
    return result;
}

int rename(const char *from, const char *to)
{
    REAL(int, rename, const char *, const char *);
    int fails = strikes(to), error = errno, result = fails && (state >> 40) % 2 ? -1 : real(from, to);
    if (fails) {
        errno = error;
        return -1;
    }
    return result;
}

int unlink(const char *path)
{
    REAL(int, unlink, const char *);
    return strikes(path) ? -1 : real(path);
}
