/*
 * filemark.h
 *		A short text that differs when a file was changed or replaced.
 *
 * The relay takes it of the files that the Kafka settings name (certificates,
 * keys) before it reads them; the worker takes it again at a reload.  Both must
 * do it alike, so it is here.  Plain C, without PostgreSQL or librdkafka.
 */
#ifndef EVPUB_FILEMARK_H
#define EVPUB_FILEMARK_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#define EVPUB_FILEMARK_MAX 128

/* Adds bytes to a hash (FNV-1a): those in which two states of a file differ. */
static inline uint64_t
evpub_filemark_add(uint64_t hash, const struct stat *st)
{
	const uint64_t parts[] = {
		(uint64_t) st->st_dev, (uint64_t) st->st_ino, (uint64_t) st->st_size,
		(uint64_t) st->st_mtim.tv_sec, (uint64_t) st->st_mtim.tv_nsec,
		(uint64_t) st->st_ctim.tv_sec, (uint64_t) st->st_ctim.tv_nsec
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		hash = (hash ^ parts[i]) * UINT64_C(1099511628211);
	return hash;
}

/*
 * The mark of a file, or of a directory and the files in it; of what is not
 * there, "none".  Links are followed: what counts is what would be read.
 */
static inline void
evpub_filemark(const char *path, char *mark, size_t size)
{
	struct stat st;
	struct dirent *entry;
	uint64_t	hash;
	uint64_t	inside = 0;
	DIR		   *dir;

	if (stat(path, &st) != 0)
	{
		snprintf(mark, size, "none");
		return;
	}
	hash = evpub_filemark_add(UINT64_C(14695981039346656037), &st);
	dir = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
	while (dir != NULL && (entry = readdir(dir)) != NULL)
	{
		struct stat file;

		/* the order of entries means nothing, so a sum */
		if (entry->d_name[0] != '.' &&
			fstatat(dirfd(dir), entry->d_name, &file, 0) == 0)
			inside += evpub_filemark_add(UINT64_C(14695981039346656037), &file);
	}
	if (dir != NULL)
		closedir(dir);
	snprintf(mark, size, "%016llx %016llx", (unsigned long long) hash,
			 (unsigned long long) inside);
}

#endif							/* EVPUB_FILEMARK_H */
