/* Records what a process does to the files below one directory; LD_PRELOAD.

   SHIM_ROOT   the directory, absolute, without a slash at its end
   SHIM_TRACE  the file that receives the records
   SHIM_KILL   n: SIGKILL to itself in the middle of operation n (a write is half done by then)

   One record: u8 operation, u32 length of path, u32 length of text, u64 thread, u64 offset; path;
   text (written bytes, or the new name of a rename). A sync has two records, at its beginning and
   at its end: it covers what was written before it began, and nothing relies on it before it ends.
   The sync of a map tells what the map holds. Whatever the process writes into SHIM_ROOT/.notes is
   recorded as a note and in no other way.

   Processes that fork, or close descriptors that they do not know, are welcome: the trace is opened
   for each record, and a descriptor is looked at before its name is believed. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
#define MAPS 64

static char root[4096];
static size_t root_size;
static char trace[4096];
static uint64_t count, kill_at;
static struct { char *name; dev_t device; ino_t node; } files[FDS];
static struct { void *start; char *name; } maps[MAPS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;


__attribute__((constructor)) static void begin(void) {
    const char *below = getenv("SHIM_ROOT"), *to = getenv("SHIM_TRACE"), *at = getenv("SHIM_KILL");
    if (!below || !to) return;
    snprintf(root, sizeof root, "%s", below);
    root_size = strlen(root);
    kill_at = at ? strtoull(at, NULL, 10) : 0;
    snprintf(trace, sizeof trace, "%s", to);
}

static int inside(const char *path) {
    return trace[0] && strncmp(path, root, root_size) == 0 &&
           (path[root_size] == '/' || path[root_size] == 0);
}

static void forget(int fd) {
    if (fd >= 0 && fd < FDS && files[fd].name) {
        free(files[fd].name);
        files[fd].name = NULL;
    }
}

static const char *name_of(int fd) {
    struct stat now;
    if (fd < 0 || fd >= FDS || !files[fd].name) return NULL;
    if (fstat(fd, &now) == 0 && now.st_dev == files[fd].device && now.st_ino == files[fd].node)
        return files[fd].name;
    return NULL;
}

static void die_if_due(void) {
    if (kill_at && count >= kill_at) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}

/* Called with the lock held, after the operation was done. */
static void put(char kind, const char *path, uint64_t offset, const void *text, uint32_t size) {
    struct { uint32_t path, text; uint64_t thread, offset; } __attribute__((packed)) sizes;
    sizes.path = strlen(path);
    sizes.text = size;
    sizes.thread = syscall(SYS_gettid);
    sizes.offset = offset;
    struct iovec parts[] = {
        {&kind, 1}, {&sizes, sizeof sizes}, {(void *)path, sizes.path}, {(void *)text, size}};
    int to = syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (to < 0 || syscall(SYS_writev, to, parts, 4) < 0) abort();
    syscall(SYS_close, to);
    count++;
    die_if_due();
}

static int opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FDS) return fd;
    forget(fd);
    struct stat found;
    if (fstat(fd, &found) != 0) return fd;
    files[fd].name = strdup(path);
    files[fd].device = found.st_dev;
    files[fd].node = found.st_ino;
    if (!existed) put('c', path, 0, "", 0);
    else if (flags & O_TRUNC) put('t', path, 0, "", 0);
    return fd;
}

static int do_open(int at, const char *path, int flags, mode_t mode) {
    if (!inside(path)) return syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat found;
    int existed = stat(path, &found) == 0;
    int fd = syscall(SYS_openat, at, path, flags, mode);
    fd = opened(fd, path, flags, existed);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = va_arg(more, int); \
        va_end(more); \
        return do_open(AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = va_arg(more, int); \
        va_end(more); \
        return do_open(at, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    pthread_mutex_lock(&lock);
    forget(fd);
    pthread_mutex_unlock(&lock);
    return syscall(SYS_close, fd);
}

static ssize_t do_write(int fd, const void *bytes, size_t size, off_t offset) {
    const char *name = name_of(fd);
    if (!name)
        return offset < 0 ? syscall(SYS_write, fd, bytes, size)
                          : syscall(SYS_pwrite64, fd, bytes, size, offset);
    pthread_mutex_lock(&lock);
    if (strcmp(name + root_size, "/.notes") == 0) {
        put('n', "", 0, bytes, size);
        pthread_mutex_unlock(&lock);
        return size;
    }
    if (kill_at && count + 1 >= kill_at) size = (size + 1) / 2;
    ssize_t done = offset < 0 ? syscall(SYS_write, fd, bytes, size)
                              : syscall(SYS_pwrite64, fd, bytes, size, offset);
    if (done > 0) {
        off_t start = offset < 0 ? lseek(fd, 0, SEEK_CUR) - done : offset;
        put('w', name, start, bytes, done);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t size) { return do_write(fd, bytes, size, -1); }
ssize_t pwrite(int fd, const void *b, size_t size, off_t at) { return do_write(fd, b, size, at); }
ssize_t pwrite64(int fd, const void *b, size_t size, off_t at) { return do_write(fd, b, size, at); }

static int do_sync(int call, int fd) {
    pthread_mutex_lock(&lock);
    char *name = name_of(fd) ? strdup(name_of(fd)) : NULL;
    if (name) put('s', name, 0, "", 0);
    pthread_mutex_unlock(&lock);
    int result = syscall(call, fd);
    if (name && result == 0) {
        pthread_mutex_lock(&lock);
        put('S', name, 0, "", 0);
        pthread_mutex_unlock(&lock);
    }
    free(name);
    return result;
}

int fsync(int fd) { return do_sync(SYS_fsync, fd); }
int fdatasync(int fd) { return do_sync(SYS_fdatasync, fd); }

int ftruncate(int fd, off_t size) {
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, size);
    if (result == 0 && name_of(fd)) put('t', name_of(fd), size, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

/* Recorded after it was done: what relies on it is recorded later still. */
#define NAMING(kind, result_of, path, other) \
    pthread_mutex_lock(&lock); \
    int result = result_of; \
    if (result == 0 && inside(path)) put(kind, path, 0, other, strlen(other)); \
    pthread_mutex_unlock(&lock); \
    return result

int rename(const char *from, const char *to) {
    NAMING('r', syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), from, to);
}
int unlink(const char *path) { NAMING('u', syscall(SYS_unlinkat, AT_FDCWD, path, 0), path, ""); }
int rmdir(const char *path) {
    NAMING('d', syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR), path, "");
}
int mkdir(const char *path, mode_t mode) {
    NAMING('m', syscall(SYS_mkdirat, AT_FDCWD, path, mode), path, "");
}

int unlinkat(int at, const char *path, int flags) {
    char whole[8192];
    const char *folder = name_of(at);
    if (at == AT_FDCWD || path[0] == '/') snprintf(whole, sizeof whole, "%s", path);
    else snprintf(whole, sizeof whole, "%s/%s", folder ? folder : "", path);
    NAMING(flags & AT_REMOVEDIR ? 'd' : 'u', syscall(SYS_unlinkat, at, path, flags), whole, "");
}

static void *do_mmap(void *at, size_t size, int access, int flags, int fd, off_t offset) {
    void *start = (void *)syscall(SYS_mmap, at, size, access, flags, fd, offset);
    const char *name = name_of(fd);
    if (name && start != MAP_FAILED && (flags & MAP_SHARED) && (access & PROT_WRITE)) {
        pthread_mutex_lock(&lock);
        for (int i = 0; i < MAPS; i++)
            if (!maps[i].name || maps[i].start == start) {
                maps[i].start = start;
                maps[i].name = strdup(name);
                break;
            }
        pthread_mutex_unlock(&lock);
    }
    return start;
}
void *mmap(void *a, size_t s, int p, int f, int d, off_t o) { return do_mmap(a, s, p, f, d, o); }
void *mmap64(void *a, size_t s, int p, int f, int d, off_t o) { return do_mmap(a, s, p, f, d, o); }

int msync(void *start, size_t size, int flags) {
    char *name = NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAPS; i++)
        if (maps[i].name && maps[i].start == start) name = maps[i].name;
    if (name) put('s', name, 0, start, size);
    pthread_mutex_unlock(&lock);
    int result = syscall(SYS_msync, start, size, flags);
    if (name && result == 0) {
        pthread_mutex_lock(&lock);
        put('S', name, 0, "", 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}
