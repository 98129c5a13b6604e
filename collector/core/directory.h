/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The category directory: which codes there are, and what they are called in Chinese and English.
 *
 * Owns the look-up, the search and the reading of a directory. The form rules, the command line and the
 * touch page call it. It must not know where a directory comes from: one is compiled in, and reference
 * data from the centre can replace it. A code is data (scheme, version, kind, code), never an enum.
 *
 * A finding names one matter (what is wrong) and may name one component (what thing it concerns). The two
 * lists are numbered apart, so a code alone says nothing without its kind.
 */
#pragma once

#include "base/cleanup.h"

#include <stddef.h>

#define DIRECTORY_BYTES_MAX (1024u * 1024u) /* of the text of a whole directory */
#define DIRECTORY_ENTRIES_MAX 4096u
#define DIRECTORY_TEXT_BYTES_MAX 256u /* of a name; a code, a scheme and a version: see proto/limits.h */
#define DIRECTORY_SUGGESTIONS_MAX 3u

enum category_kind { CATEGORY_MATTER, CATEGORY_COMPONENT };

struct directory_entry {
    enum category_kind kind;
    const char *code;
    const char *major_zh, *major_en; /* the class that the code belongs to */
    const char *name_zh, *name_en;   /* the English texts may be "" in a replacement directory */
};

/* Entries are sorted by kind, then by the bytes of the code, and no (kind, code) stands twice. */
struct directory {
    const char *scheme, *version;
    const struct directory_entry *entries;
    size_t count;
};

/* The directory that is compiled in. Lives as long as the program. */
const struct directory *directory_built_in(void);

/*
 * Reads a replacement directory: UTF-8 text of lines that end in '\n', in this order
 *
 *     # scheme: GB/T 47678.5                     lines that start with '#' are comments but for these two;
 *     # version: 2026                            empty lines count for nothing
 *     kind code major_zh major_en name_zh name_en   (exactly these names, separated by one tab)
 *     matter 06010 ...                           one line for each code, in any order
 *
 * The English fields may be empty, the others not; at least one matter is needed, as without one nothing
 * could be recorded.
 *
 * Returns 0, and the caller gives *ret to directory_free(). On failure *ret is untouched and *ret_line is
 * the number of the line at fault, from 1, or 0 where no single line is:
 *   -EILSEQ  not UTF-8, or a control character
 *   -EINVAL  wrong form: a missing or unknown column, kind, code, scheme, version, an empty field, no matter
 *   -EEXIST  a code that stands twice (the second line is named)
 *   -E2BIG   one of the limits above is passed
 *   -ENOMEM
 */
int directory_parse(const char *text, size_t len, struct directory **ret, size_t *ret_line);

/* Only for what directory_parse() returned. Takes NULL. */
void directory_free(struct directory *directory);
DEFINE_CLEANUP(struct directory, directory_free);

/* The order of entries, by kind and code: for qsort() and bsearch() over struct directory_entry. */
int directory_entry_compare(const void *a, const void *b);

/* "matter" or "component". */
const char *category_kind_name(enum category_kind kind);

/* The entry of that kind and code, or NULL. */
const struct directory_entry *directory_find(
    const struct directory *directory, enum category_kind kind, const char *code);

/* The name to show; Chinese stands in where a replacement directory has no English. */
const char *directory_name(const struct directory_entry *entry, bool chinese);

/*
 * What a person may have meant by a code that directory_find() does not know, nearest first: codes of that
 * kind with the fewest slips, two at most (a digit wrong, missing, too many, or two swapped), or else codes
 * of that kind whose name has the text in it, since people type names too. Fills ret with up to
 * DIRECTORY_SUGGESTIONS_MAX entries and returns how many.
 */
size_t directory_suggest(const struct directory *directory, enum category_kind kind, const char *code,
    const struct directory_entry *ret[static DIRECTORY_SUGGESTIONS_MAX]);

/*
 * Finds entries of both kinds by text. The text is split at blanks (the ideographic one too); each part must
 * be the start of the code, be contained in the Chinese name or class, or be the start of a word of the
 * English name or class, whatever its case. The best come first: whole code, start of a code, whole name,
 * start of a name, elsewhere in the name, only in the class; equals in directory order. No text finds all.
 * Fills ret with up to max entries and returns how many.
 */
size_t directory_search(
    const struct directory *directory, const char *text, const struct directory_entry **ret, size_t max);
