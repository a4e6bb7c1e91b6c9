// A power cut for one process, to be preloaded: what was written and not synced is kept, lost or torn, and the process
// ends at once.
//
// The model is as harsh as a disk with a volatile cache may be. Of every 512-byte sector any state since the file's
// last fsync or fdatasync may be what is left; a file's length is the synced one or the last one. Names (create,
// mkdir, rename, link, unlink, rmdir) are lost back to the last fsync of a directory, the newest first, as in a journalling
// file system; a file's fsync saves no name. sync_file_range saves nothing. A file that loses its name is kept in a
// graveyard, so that the loss of its removal can bring it back.
//
// Environment: POWERCUT_ROOT (only what is below it is touched), POWERCUT_GRAVEYARD (a directory on the same file system),
// POWERCUT_AFTER (the operation at which the power fails; 0 is never), POWERCUT_SEED, POWERCUT_DEAF (syncs save nothing).
// It says on stderr what it did: "powercut: operations=… dropped=…".
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SECTOR = 512, PATH = 4096 };

// What a sector held before one of the writes since the last sync.
typedef struct Image {
  off_t sector;
  unsigned char bytes[SECTOR];
  struct Image *older;
} Image;

// A file below the root, with what is not synced of it.
typedef struct Inode {
  ino_t ino;
  int fd;
  off_t synced_size;
  int truncated;
  Image *images;
  struct Inode *next;
} Inode;

// A name that was made, moved or taken away since a directory was last synced.
typedef struct Change {
  enum { MADE_FILE, MADE_DIR, MOVED, GONE_FILE, GONE_DIR } what;
  char *from, *to, *grave;
  struct Change *older;
} Change;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Inode *inodes;
static Change *changes;
static long operations, after, graves;
static unsigned long long seed;
static int deaf, ready;
static char root[PATH], graveyard[PATH];

#define REAL(type, name, ...) static type (*real_##name)(__VA_ARGS__)
REAL(ssize_t, write, int, const void *, size_t);
REAL(ssize_t, writev, int, const struct iovec *, int);
REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
REAL(int, ftruncate64, int, off_t);
REAL(int, open64, const char *, int, ...);
REAL(int, openat64, int, const char *, int, ...);
REAL(int, rename, const char *, const char *);
REAL(int, unlink, const char *);
REAL(int, unlinkat, int, const char *, int);
REAL(int, rmdir, const char *);
REAL(int, mkdir, const char *, mode_t);
REAL(int, link, const char *, const char *);
REAL(int, fsync, int);

#define FIND(name) real_##name = dlsym(RTLD_NEXT, #name)

static void prepare(void) {
  if (ready) return;
  FIND(write), FIND(writev), FIND(pwrite64), FIND(ftruncate64), FIND(open64), FIND(openat64), FIND(rename);
  FIND(unlink), FIND(unlinkat), FIND(rmdir), FIND(mkdir), FIND(link), FIND(fsync);
  const char *value = getenv("POWERCUT_ROOT");
  if (value && !realpath(value, root)) root[0] = 0;
  value = getenv("POWERCUT_GRAVEYARD");
  if (value && !realpath(value, graveyard)) graveyard[0] = 0;
  value = getenv("POWERCUT_AFTER");
  after = value ? atol(value) : 0;
  value = getenv("POWERCUT_SEED");
  seed = (value ? strtoull(value, 0, 10) : 0) * 2654435761u + 1;
  deaf = getenv("POWERCUT_DEAF") != 0;
  ready = 1;
}

static unsigned chance(unsigned of) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return (unsigned)(seed >> 33) % of;
}

static int below_root(const char *path) {
  size_t length = strlen(root);
  return length && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

// The full path of a name, which need not exist; its directory must.
static int full_path(int dir, const char *name, char *full) {
  char joined[2 * PATH], copy[2 * PATH];
  if (name[0] == '/') {
    snprintf(joined, sizeof joined, "%s", name);
  } else if (dir == AT_FDCWD) {
    char here[PATH];
    if (!getcwd(here, sizeof here)) return 0;
    snprintf(joined, sizeof joined, "%s/%s", here, name);
  } else {
    char link_name[64], here[PATH];
    snprintf(link_name, sizeof link_name, "/proc/self/fd/%d", dir);
    ssize_t length = readlink(link_name, here, sizeof here - 1);
    if (length < 0) return 0;
    here[length] = 0;
    snprintf(joined, sizeof joined, "%s/%s", here, name);
  }
  size_t length = strlen(joined);
  while (length > 1 && joined[length - 1] == '/') joined[--length] = 0;
  strcpy(copy, joined);
  char *slash = strrchr(copy, '/'), parent[PATH];
  if (!slash) return 0;
  *slash = 0;
  if (!realpath(copy[0] ? copy : "/", parent)) return 0;
  snprintf(full, PATH, "%s/%s", parent, slash + 1);
  return below_root(full);
}

static Inode *inode_of_fd(int fd) {
  struct stat stat;
  char link_name[64], path[PATH];
  if (fstat(fd, &stat) || !S_ISREG(stat.st_mode)) return 0;
  for (Inode *inode = inodes; inode; inode = inode->next)
    if (inode->ino == stat.st_ino) return inode;
  snprintf(link_name, sizeof link_name, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link_name, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (!below_root(path)) return 0;
  int own = real_open64(link_name, O_RDWR | O_CLOEXEC);
  if (own < 0) return 0;
  Inode *inode = calloc(1, sizeof *inode);
  *inode = (Inode){.ino = stat.st_ino, .fd = own, .synced_size = stat.st_size, .next = inodes};
  return inodes = inode;
}

static void keep_image(Inode *inode, off_t sector) {
  Image *image = calloc(1, sizeof *image);
  image->sector = sector;
  if (pread(inode->fd, image->bytes, SECTOR, sector * SECTOR) < 0) abort();
  image->older = inode->images;
  inode->images = image;
}

static void keep_images(Inode *inode, off_t begin, size_t length) {
  if (!length) return;
  for (off_t sector = begin / SECTOR; sector <= (begin + (off_t)length - 1) / SECTOR; sector++)
    keep_image(inode, sector);
}

static void forget_images(Inode *inode) {
  while (inode->images) {
    Image *image = inode->images;
    inode->images = image->older;
    free(image);
  }
  inode->truncated = 0;
}

// Leaves of one file what the cut leaves. All of it lost, all kept, or every sector for itself.
static long cut_inode(Inode *inode, int force) {
  long dropped = 0;
  struct stat stat;
  if ((!inode->images && !inode->truncated) || fstat(inode->fd, &stat)) return 0;
  unsigned mode = force ? 0 : chance(3);
  if (mode != 1) {
    // The newest image first: whoever gives up a state may give up the one before it, too.
    for (Image *image = inode->images; image; image = image->older) {
      if (mode == 2 && chance(2)) continue;
      if (real_pwrite64(inode->fd, image->bytes, SECTOR, image->sector * SECTOR) != SECTOR) abort();
      dropped++;
    }
  }
  off_t size = mode == 0 || (mode == 2 && chance(2)) ? inode->synced_size : stat.st_size;
  if (size != stat.st_size) dropped++;
  if (real_ftruncate64(inode->fd, size)) abort();
  return dropped;
}

static void undo(const Change *change) {
  switch (change->what) {
    case MADE_FILE: real_unlink(change->to); break;
    case MADE_DIR: real_rmdir(change->to); break;
    case MOVED:
      real_rename(change->to, change->from);
      if (change->grave) real_rename(change->grave, change->to);
      break;
    case GONE_FILE: real_rename(change->grave, change->from); break;
    case GONE_DIR: real_mkdir(change->from, 0777); break;
  }
}

// Called with the lock held, which is never given back.
static void cut(void) {
  long dropped = 0, names = 0;
  for (Inode *inode = inodes; inode; inode = inode->next) dropped += cut_inode(inode, 0);
  for (Change *change = changes; change && chance(4); change = change->older, names++) undo(change);
  if (!dropped && !names)
    for (Inode *inode = inodes; inode && !dropped; inode = inode->next) dropped += cut_inode(inode, 1);
  if (!dropped && !names && changes) undo(changes), names++;
  dprintf(2, "\npowercut: operations=%ld dropped=%ld sectors=%ld names=%ld\n", operations, dropped + names,
          dropped, names);
  _exit(137);
}

static void count(void) {
  operations++;
  if (after && operations >= after) cut();
}

static void note(int what, const char *from, const char *to, const char *grave) {
  Change *change = calloc(1, sizeof *change);
  *change = (Change){.what = what, .from = from ? strdup(from) : 0, .to = to ? strdup(to) : 0,
                     .grave = grave && grave[0] ? strdup(grave) : 0, .older = changes};
  changes = change;
}

// Gives a file that loses its name another one.
static void bury(const char *path, char *grave) {
  struct stat stat;
  grave[0] = 0;
  if (lstat(path, &stat) || !S_ISREG(stat.st_mode)) return;
  snprintf(grave, PATH, "%.4000s/%d-%ld", graveyard, (int)getpid(), graves++);
  if (real_link(path, grave)) abort();
}

// All names up to the newest in this directory are durable: a journal is written in order.
static void sync_names(const char *dir) {
  char parent[PATH];
  Change *newest = changes, **place = &changes;
  for (; newest; place = &newest->older, newest = newest->older) {
    const char *paths[] = {newest->from, newest->to};
    for (int i = 0; i < 2; i++) {
      if (!paths[i]) continue;
      snprintf(parent, sizeof parent, "%s", paths[i]);
      char *slash = strrchr(parent, '/');
      if (slash) *slash = 0;
      if (!strcmp(parent, dir)) {
        *place = 0;
        return; // What is durable is leaked, as the process is short-lived.
      }
    }
  }
}

static int sync_fd(int fd) {
  struct stat stat;
  prepare();
  pthread_mutex_lock(&lock);
  int failed = fstat(fd, &stat);
  if (!failed && !deaf && S_ISDIR(stat.st_mode)) {
    char link_name[64], path[PATH];
    snprintf(link_name, sizeof link_name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link_name, path, sizeof path - 1);
    if (length > 0) path[length] = 0, sync_names(path);
  } else if (!failed && !deaf) {
    Inode *inode = inode_of_fd(fd);
    if (inode) forget_images(inode), inode->synced_size = stat.st_size;
  }
  pthread_mutex_unlock(&lock);
  return failed;
}

int fsync(int fd) { return sync_fd(fd); }
int fdatasync(int fd) { return sync_fd(fd); }
int sync_file_range(int fd, off_t offset, off_t bytes, unsigned flags) {
  (void)fd, (void)offset, (void)bytes, (void)flags;
  return 0;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
  prepare();
  pthread_mutex_lock(&lock);
  Inode *inode = inode_of_fd(fd);
  if (inode) keep_images(inode, offset, length);
  ssize_t result = real_pwrite64(fd, bytes, length, offset);
  if (inode) count();
  pthread_mutex_unlock(&lock);
  return result;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return pwrite64(fd, bytes, length, offset);
}

static Inode *before_write(int fd, size_t length) {
  Inode *inode = inode_of_fd(fd);
  struct stat stat;
  if (!inode || fstat(fd, &stat)) return inode;
  int appends = fcntl(fd, F_GETFL) & O_APPEND;
  keep_images(inode, appends ? stat.st_size : lseek(fd, 0, SEEK_CUR), length);
  return inode;
}

ssize_t write(int fd, const void *bytes, size_t length) {
  prepare();
  pthread_mutex_lock(&lock);
  Inode *inode = before_write(fd, length);
  ssize_t result = real_write(fd, bytes, length);
  if (inode) count();
  pthread_mutex_unlock(&lock);
  return result;
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
  prepare();
  size_t length = 0;
  for (int i = 0; i < number; i++) length += parts[i].iov_len;
  pthread_mutex_lock(&lock);
  Inode *inode = before_write(fd, length);
  ssize_t result = real_writev(fd, parts, number);
  if (inode) count();
  pthread_mutex_unlock(&lock);
  return result;
}

static void before_truncation(Inode *inode, off_t to) {
  struct stat stat;
  if (fstat(inode->fd, &stat)) return;
  if (stat.st_size > to) keep_images(inode, to, (size_t)(stat.st_size - to));
  inode->truncated = 1;
}

int ftruncate64(int fd, off_t to) {
  prepare();
  pthread_mutex_lock(&lock);
  Inode *inode = inode_of_fd(fd);
  if (inode) before_truncation(inode, to);
  int result = real_ftruncate64(fd, to);
  if (inode) count();
  pthread_mutex_unlock(&lock);
  return result;
}
int ftruncate(int fd, off_t to) { return ftruncate64(fd, to); }

static int open_any(int dir, const char *name, int flags, mode_t mode) {
  prepare();
  char path[PATH];
  struct stat stat;
  if (!(flags & (O_CREAT | O_TRUNC)) || !full_path(dir, name, path)) return real_openat64(dir, name, flags, mode);
  pthread_mutex_lock(&lock);
  int existed = !lstat(path, &stat), truncates = existed && (flags & O_TRUNC) && stat.st_size;
  // Emptied by our own hand, so that what was in it is kept first.
  int fd = real_openat64(dir, name, truncates ? flags & ~O_TRUNC : flags, mode);
  int failure = errno;
  Inode *inode = fd >= 0 ? inode_of_fd(fd) : 0;
  if (fd >= 0 && !existed) note(MADE_FILE, 0, path, 0);
  if (fd >= 0 && truncates) {
    if (inode) before_truncation(inode, 0);
    if (real_ftruncate64(fd, 0)) abort();
  }
  if (fd >= 0 && (!existed || truncates)) count();
  pthread_mutex_unlock(&lock);
  errno = failure;
  return fd;
}

#define MODE_OF(flags)                     \
  mode_t mode = 0;                         \
  if ((flags) & (O_CREAT | O_TMPFILE)) {   \
    va_list rest;                          \
    va_start(rest, flags);                 \
    mode = (mode_t)va_arg(rest, unsigned); \
    va_end(rest);                          \
  }

int open64(const char *name, int flags, ...) {
  MODE_OF(flags)
  return open_any(AT_FDCWD, name, flags, mode);
}
int open(const char *name, int flags, ...) {
  MODE_OF(flags)
  return open_any(AT_FDCWD, name, flags, mode);
}
int openat64(int dir, const char *name, int flags, ...) {
  MODE_OF(flags)
  return open_any(dir, name, flags, mode);
}
int openat(int dir, const char *name, int flags, ...) {
  MODE_OF(flags)
  return open_any(dir, name, flags, mode);
}

int rename(const char *from, const char *to) {
  prepare();
  char old[PATH], new[PATH], grave[PATH];
  if (!full_path(AT_FDCWD, from, old) || !full_path(AT_FDCWD, to, new)) return real_rename(from, to);
  pthread_mutex_lock(&lock);
  bury(new, grave);
  int result = real_rename(from, to), failure = errno;
  if (!result) note(MOVED, old, new, grave), count();
  pthread_mutex_unlock(&lock);
  errno = failure;
  return result;
}

int unlinkat(int dir, const char *name, int flags) {
  prepare();
  char path[PATH], grave[PATH] = "";
  if (!full_path(dir, name, path)) return real_unlinkat(dir, name, flags);
  pthread_mutex_lock(&lock);
  if (!(flags & AT_REMOVEDIR)) bury(path, grave);
  int result = real_unlinkat(dir, name, flags), failure = errno;
  if (!result) note(flags & AT_REMOVEDIR ? GONE_DIR : GONE_FILE, path, 0, grave), count();
  pthread_mutex_unlock(&lock);
  errno = failure;
  return result;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdir(const char *name, mode_t mode) {
  prepare();
  char path[PATH];
  if (!full_path(AT_FDCWD, name, path)) return real_mkdir(name, mode);
  pthread_mutex_lock(&lock);
  int result = real_mkdir(name, mode), failure = errno;
  if (!result) note(MADE_DIR, 0, path, 0), count();
  pthread_mutex_unlock(&lock);
  errno = failure;
  return result;
}

int link(const char *from, const char *to) {
  prepare();
  char path[PATH];
  if (!full_path(AT_FDCWD, to, path)) return real_link(from, to);
  pthread_mutex_lock(&lock);
  int result = real_link(from, to), failure = errno;
  if (!result) note(MADE_FILE, 0, path, 0), count();
  pthread_mutex_unlock(&lock);
  errno = failure;
  return result;
}

// What this shim does not see must not be used: writes through a mapping, and copies inside the kernel.
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t length, unsigned flags) {
  (void)in, (void)in_at, (void)out, (void)out_at, (void)length, (void)flags;
  errno = ENOSYS;
  return -1;
}
