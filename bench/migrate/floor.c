// The least that shifting owners can cost: one fstatat, one llistxattr and one fchownat an inode, by two threads.
//   floor OFFSET TREE...      adds OFFSET to every owner below the trees
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char **waiting;
static size_t count, room, busy;
static long offset;

static void fail(const char *what) { perror(what); exit(1); }

static void put(char *path) {
  pthread_mutex_lock(&lock);
  if (count == room) waiting = realloc(waiting, (room = room * 2 + 64) * sizeof *waiting);
  waiting[count++] = path;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
}

static int one(int dir, const char *name) {
  struct stat st;
  char names[4096];
  if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW)) fail(name);
  if (llistxattr(name, names, sizeof names) < 0) fail(name);
  if (fchownat(dir, name, st.st_uid + offset, st.st_gid + offset, AT_SYMLINK_NOFOLLOW)) fail(name);
  return S_ISDIR(st.st_mode);
}

static void *work(void *unused) {
  // A working directory of its own, so that a name is a path.
  if (unshare(CLONE_FS)) fail("unshare");
  for (;;) {
    pthread_mutex_lock(&lock);
    while (!count && busy) pthread_cond_wait(&changed, &lock);
    if (!count) { pthread_cond_broadcast(&changed); pthread_mutex_unlock(&lock); return unused; }
    char *path = waiting[--count];
    busy++;
    pthread_mutex_unlock(&lock);
    DIR *dir = opendir(path);
    if (!dir || fchdir(dirfd(dir))) fail(path);
    for (struct dirent *entry; (entry = readdir(dir));) {
      if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
      if (one(dirfd(dir), entry->d_name)) {
        char *below;
        if (asprintf(&below, "%s/%s", path, entry->d_name) < 0) fail("asprintf");
        put(below);
      }
    }
    closedir(dir);
    free(path);
    pthread_mutex_lock(&lock);
    if (!--busy && !count) pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
  }
}

int main(int argc, char **argv) {
  offset = atol(argv[1]);
  for (int i = 2; i < argc; i++) { one(AT_FDCWD, argv[i]); put(strdup(argv[i])); }
  pthread_t other;
  if (pthread_create(&other, NULL, work, NULL)) fail("pthread_create");
  work(NULL);
  pthread_join(other, NULL);
  return 0;
}
