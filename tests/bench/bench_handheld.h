/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handheld for the programs that load a server: a key, a log, findings that follow from a number, and the
 * bodies of its requests. Used by bench_ingest, bench_load and bench_insert, which so speak of the same
 * bytes. It sends nothing, and keeps no more of its log than the tree's frontier. What fails ends the
 * program.
 */
#pragma once

#include "proto/enrolment.h"
#include "proto/merkle.h"

struct bench_handheld {
    struct uuid device, log;
    struct sign_key key;
    struct merkle_frontier frontier;
    uint64_t size;       /* of the log */
    uint64_t random;     /* of the notes' words */
    uint32_t dictionary; /* DICTIONARY_NONE: none */
    bool as_columns;
};

/* Ends the program with `what` and the error, when `r` is one. */
void bench_must(int r, const char *what);

/* All of it follows from the number, the ids too: two of one number are one device. */
void bench_handheld_init(struct bench_handheld *handheld, uint64_t number);
/* The bytes of the record at the log's end, which moves: the first one opens the log. */
void bench_handheld_record(struct bench_handheld *handheld, struct buffer *ret);
/* The body of the next exchange, of `count` records. */
void bench_handheld_exchange(struct bench_handheld *handheld, size_t count, struct buffer *ret_body);
void bench_handheld_enrolment(
    const struct bench_handheld *handheld, const uint8_t token[ENROL_TOKEN_BYTES], struct buffer *ret_body);
