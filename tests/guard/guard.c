/*
 * An allocator that makes every use after free of a larger block a SIGSEGV.
 *
 * Loaded with LD_PRELOAD. A block of at least GUARD_FROM bytes (default 256) gets pages of its own
 * and an inaccessible page behind it, and ends at the end of its last page; free() makes its pages
 * inaccessible and never uses the addresses again. Smaller blocks are glibc's: MALLOC_PERTURB_
 * poisons those. Where GUARD_PROGRAM is set, all blocks of a program of another name are glibc's:
 * varnishd runs a C compiler, which has more blocks than a process may have mappings.
 *
 * For tests only: a block costs two system calls and, while it is in use, a mapping or two, of which
 * the kernel allows 65,530 a process. All addresses come from one reservation of 4 TiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAGIC 0x73336c6f67677561ULL
#define PAGE 4096UL

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

/* Stands on the first page of a block's mapping. */
struct head {
	uint64_t magic;
	size_t mapped;
	size_t size;
	void *block;
};

/* One reservation, so that an address tells whose block it is. */
#define ARENA (1UL << 42)
static char *arena, *next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Until start() has run, every block is glibc's. */
static size_t from = SIZE_MAX;

__attribute__((constructor)) static void start(void)
{
	const char *program = getenv("GUARD_PROGRAM");
	if (program != NULL && strcmp(program, program_invocation_short_name) != 0)
		return;
	const char *text = getenv("GUARD_FROM");
	size_t given = text != NULL && atoi(text) > 0 ? (size_t)atoi(text) : 256;
	arena = mmap(NULL, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena == MAP_FAILED)
		abort();
	next = arena;
	from = given;
}

static int ours(const void *p)
{
	return (arena != NULL && (const char *)p >= arena && (const char *)p < arena + ARENA);
}

static struct head *head_of(void *p)
{
	/* The head's page is the one before the block's first page. */
	uintptr_t page = (uintptr_t)p & ~(PAGE - 1);
	struct head *h = (struct head *)(page - PAGE);
	if (h->magic != MAGIC || h->block != p)
		abort(); /* a pointer that malloc did not give, or freed twice */
	return (h);
}

static void *guarded(size_t size, size_t align)
{
	if (align < 16)
		align = 16;
	if (align > PAGE) {
		errno = ENOMEM;
		return (NULL);
	}
	size_t padded = (size + align - 1) & ~(align - 1);
	size_t body = (padded + PAGE - 1) & ~(PAGE - 1);
	/* head, body, and a page that stays inaccessible */
	size_t mapped = PAGE + body + PAGE;
	pthread_mutex_lock(&lock);
	char *at = next;
	if (at + mapped > arena + ARENA)
		abort();
	next += mapped;
	pthread_mutex_unlock(&lock);
	if (mprotect(at, PAGE + body, PROT_READ | PROT_WRITE) != 0) {
		errno = ENOMEM;
		return (NULL);
	}
	char *block = at + PAGE + body - padded;
	struct head *h = (struct head *)at;
	h->magic = MAGIC;
	h->mapped = mapped;
	h->size = size;
	h->block = block;
	return (block);
}

static void unguard(void *p)
{
	struct head *h = head_of(p);
	char *at = (char *)h;
	size_t mapped = h->mapped;
	/* Fresh, inaccessible pages in their place: the memory goes, the addresses stay taken. */
	if (mmap(at, mapped, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		abort();
}

void *malloc(size_t size)
{
	return (size < from ? __libc_malloc(size) : guarded(size, 16));
}

void *calloc(size_t count, size_t size)
{
	size_t all;
	if (__builtin_mul_overflow(count, size, &all)) {
		errno = ENOMEM;
		return (NULL);
	}
	/* New pages are zero. */
	return (all < from ? __libc_calloc(count, size) : guarded(all, 16));
}

void free(void *p)
{
	int error = errno;
	if (ours(p))
		unguard(p);
	else
		__libc_free(p);
	errno = error;
}

void *realloc(void *p, size_t size)
{
	if (p == NULL)
		return (malloc(size));
	if (!ours(p) && size < from)
		return (__libc_realloc(p, size));
	size_t old = ours(p) ? head_of(p)->size : malloc_usable_size(p);
	void *new = malloc(size);
	if (new == NULL)
		return (NULL);
	memcpy(new, p, old < size ? old : size);
	free(p);
	return (new);
}

void *memalign(size_t align, size_t size)
{
	return (size < from || align > PAGE ? __libc_memalign(align, size) : guarded(size, align));
}

void *aligned_alloc(size_t align, size_t size)
{
	return (memalign(align, size));
}

int posix_memalign(void **p, size_t align, size_t size)
{
	void *new = memalign(align, size);
	if (new == NULL)
		return (ENOMEM);
	*p = new;
	return (0);
}

size_t malloc_usable_size(void *p)
{
	if (p == NULL)
		return (0);
	if (ours(p))
		return (head_of(p)->size);
	/* glibc's chunk header: the size word before the block, less its own. */
	return ((((size_t *)p)[-1] & ~7UL) - sizeof(size_t));
}
