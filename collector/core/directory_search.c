/* SPDX-License-Identifier: Apache-2.0 */
/* Search by text in a category directory, and what to suggest for an unknown code. See directory.h. */
#include "collector/core/directory.h"
#include "proto/limits.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define SUGGESTION_SLIPS_MAX 2u
#define SLIP_DISTANCE (CODE_BYTES_MAX + 1u)
#define ALL_KINDS ((1u << CATEGORY_MATTER) | (1u << CATEGORY_COMPONENT))

/* How well a part of the text fits an entry, best first. */
enum match_rank {
    RANK_CODE,
    RANK_CODE_START,
    RANK_NAME,
    RANK_NAME_START,
    RANK_NAME_WITHIN,
    RANK_CLASS,
    RANK_NONE,
};

struct part {
    const char *text;
    size_t len;
};

static const char ideographic_blank[] = "\xe3\x80\x80"; /* U+3000: what a Chinese keyboard types */

static size_t blank_len(const char *text)
{
    if (*text == ' ' || *text == '\t')
        return 1;
    if (strncmp(text, ideographic_blank, 3) == 0)
        return 3;
    return 0;
}

/* Moves *text behind its next part. Returns false when there is none. */
static bool next_part(const char **text, struct part *ret)
{
    const char *at = *text;

    for (size_t len; (len = blank_len(at)) > 0; at += len)
        ;
    ret->text = at;
    while (*at != '\0' && blank_len(at) == 0)
        at++;
    ret->len = (size_t)(at - ret->text);
    *text = at;
    return ret->len > 0;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_word_character(char c)
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

static bool starts_with(const char *text, struct part part)
{
    for (size_t i = 0; i < part.len; i++)
        if (lower(text[i]) != lower(part.text[i]))
            return false;
    return true;
}

static bool has_word(const char *english, struct part part)
{
    for (const char *at = english; *at != '\0'; at++)
        if ((at == english || !is_word_character(at[-1])) && starts_with(at, part))
            return true;
    return false;
}

static bool has_text(const char *chinese, struct part part)
{
    return memmem(chinese, strlen(chinese), part.text, part.len) != NULL;
}

static enum match_rank rank_part(const struct directory_entry *entry, struct part part)
{
    const bool in_zh = starts_with(entry->name_zh, part), in_en = starts_with(entry->name_en, part);

    if (starts_with(entry->code, part))
        return entry->code[part.len] == '\0' ? RANK_CODE : RANK_CODE_START;
    if ((in_zh && entry->name_zh[part.len] == '\0') || (in_en && entry->name_en[part.len] == '\0'))
        return RANK_NAME;
    if (in_zh || in_en)
        return RANK_NAME_START;
    if (has_text(entry->name_zh, part) || has_word(entry->name_en, part))
        return RANK_NAME_WITHIN;
    if (has_text(entry->major_zh, part) || has_word(entry->major_en, part))
        return RANK_CLASS;
    return RANK_NONE;
}

/* A text is as good as its worst part, except that the whole of it may be the whole name or its start. */
static enum match_rank rank_text(const struct directory_entry *entry, struct part whole)
{
    enum match_rank worst = RANK_CODE, as_one = RANK_NONE;
    const char *rest = whole.text;
    struct part part;

    while (next_part(&rest, &part)) {
        const enum match_rank rank = rank_part(entry, part);

        if (rank > worst)
            worst = rank;
    }
    if (worst != RANK_NONE && whole.len > 0)
        as_one = rank_part(entry, whole);
    return as_one < worst ? as_one : worst;
}

/* The text without the blanks round it. */
static struct part trim(const char *text)
{
    struct part whole = {.text = text}, part;
    const char *rest = text;

    for (bool first = true; next_part(&rest, &part); first = false) {
        if (first)
            whole.text = part.text;
        whole.len = (size_t)(part.text + part.len - whole.text);
    }
    return whole;
}

static size_t search_kinds(const struct directory *directory, unsigned kinds, const char *text,
    const struct directory_entry **ret, size_t max)
{
    const struct part whole = trim(text);
    uint8_t ranks[DIRECTORY_ENTRIES_MAX];
    size_t count = 0;

    assert(directory->count <= DIRECTORY_ENTRIES_MAX);
    for (size_t i = 0; i < directory->count; i++) {
        const struct directory_entry *entry = &directory->entries[i];
        const bool wanted = (kinds & (1u << entry->kind)) != 0;

        ranks[i] = wanted ? (uint8_t)rank_text(entry, whole) : RANK_NONE;
    }
    /* One walk for each rank keeps equals in directory order. */
    for (enum match_rank rank = RANK_CODE; rank < RANK_NONE; rank++)
        for (size_t i = 0; i < directory->count && count < max; i++)
            if (ranks[i] == rank)
                ret[count++] = &directory->entries[i];
    return count;
}

/*
 * How many slips lead from one code to the other: a character wrong, missing, too many, or two neighbours
 * swapped (Damerau-Levenshtein distance in its restricted form). Both are at most CODE_BYTES_MAX long.
 */
static unsigned count_slips(const char *a, const char *b)
{
    const size_t a_len = strlen(a), b_len = strlen(b);
    uint8_t rows[3][CODE_BYTES_MAX + 1];
    uint8_t *before_last = rows[0], *last = rows[1], *row = rows[2];

    for (size_t j = 0; j <= b_len; j++)
        last[j] = (uint8_t)j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = last[j - 1] + (a[i - 1] != b[j - 1] ? 1u : 0u);

            if (last[j] + 1u < best)
                best = last[j] + 1u;
            if (row[j - 1] + 1u < best)
                best = row[j - 1] + 1u;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before_last[j - 2] + 1u < best)
                best = before_last[j - 2] + 1u;
            row[j] = (uint8_t)best;
        }
        uint8_t *oldest = before_last;
        before_last = last;
        last = row;
        row = oldest;
    }
    return last[b_len];
}

static size_t count_common_prefix(const char *a, const char *b)
{
    size_t len = 0;

    while (a[len] != '\0' && a[len] == b[len])
        len++;
    return len;
}

/* Fewer slips are nearer; among equals a slip further right is, as the start of a code is its class. */
static unsigned code_distance(const char *wanted, const char *code)
{
    const unsigned slips = count_slips(wanted, code);
    const size_t prefix_len = count_common_prefix(wanted, code);

    return slips * SLIP_DISTANCE + CODE_BYTES_MAX - (unsigned)prefix_len;
}

/* The codes with the fewest slips, as far as these are few enough; a code with more is not offered beside
 * them. */
static size_t suggest_by_code(const struct directory *directory, enum category_kind kind, const char *code,
    const struct directory_entry *ret[static DIRECTORY_SUGGESTIONS_MAX])
{
    unsigned distances[DIRECTORY_SUGGESTIONS_MAX];
    size_t count = 0;

    if (strlen(code) > CODE_BYTES_MAX)
        return 0;
    for (size_t i = 0; i < directory->count; i++) {
        const struct directory_entry *entry = &directory->entries[i];
        unsigned distance;
        size_t at = count;

        if (entry->kind != kind)
            continue;
        distance = code_distance(code, entry->code);
        if (distance >= (SUGGESTION_SLIPS_MAX + 1) * SLIP_DISTANCE)
            continue;
        while (at > 0 && distance < distances[at - 1])
            at--;
        if (at == DIRECTORY_SUGGESTIONS_MAX)
            continue;
        if (count < DIRECTORY_SUGGESTIONS_MAX)
            count++;
        for (size_t j = count - 1; j > at; j--) {
            distances[j] = distances[j - 1];
            ret[j] = ret[j - 1];
        }
        distances[at] = distance;
        ret[at] = entry;
    }
    while (count > 1 && distances[count - 1] / SLIP_DISTANCE > distances[0] / SLIP_DISTANCE)
        count--;
    return count;
}

size_t directory_suggest(const struct directory *directory, enum category_kind kind, const char *code,
    const struct directory_entry *ret[static DIRECTORY_SUGGESTIONS_MAX])
{
    const size_t count = suggest_by_code(directory, kind, code, ret);

    if (count > 0 || trim(code).len == 0)
        return count;
    return search_kinds(directory, 1u << kind, code, ret, DIRECTORY_SUGGESTIONS_MAX);
}

size_t directory_search(
    const struct directory *directory, const char *text, const struct directory_entry **ret, size_t max)
{
    return search_kinds(directory, ALL_KINDS, text, ret, max);
}
