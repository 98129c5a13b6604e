/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The evidence file: see evidence.h; proto/README.md, "Evidence file".
 */
#include "proto/evidence.h"

#include "proto/merkle.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

#include <errno.h>

#define MAGIC "gridpatrol evidence 1\n"
#define MAGIC_BYTES (sizeof(MAGIC) - 1)

static bool within_limits(const struct evidence *evidence)
{
    if (evidence->seq >= LOG_SIZE_MAX || evidence->record.len > RECORD_BYTES_MAX ||
        evidence->proof_count > MERKLE_DEPTH_MAX || evidence->receipt.len > NOTE_TEXT_BYTES_MAX ||
        evidence->certificate.len > ENROLMENT_BYTES_MAX || evidence->blob_count > EVIDENCE_BLOBS_MAX ||
        evidence->trust.len > TRUST_LIST_BYTES_MAX)
        return false;
    for (size_t i = 0; i < evidence->blob_count; i++)
        if (evidence->blob_sizes[i] == 0 || evidence->blob_sizes[i] > BLOB_BYTES_MAX)
            return false;
    return true;
}

int evidence_head_encode(const struct evidence *evidence, struct buffer *ret)
{
    Wire__EvidenceHead wire = WIRE__EVIDENCE_HEAD__INIT;
    _cleanup_buffer_ struct buffer head = {0};
    _cleanup_arena_ struct arena scratch = {0};
    int r;

    if (!within_limits(evidence))
        return -EMSGSIZE;
    arena_init(&scratch, WIRE_SCRATCH_BUDGET);
    wire.log = wire_of_uuid(&evidence->log);
    wire.seq = evidence->seq;
    wire.record = wire_of(evidence->record);
    wire.n_proof = evidence->proof_count;
    wire.proof = wire_list_of_sha256(&scratch, evidence->proof, evidence->proof_count);
    wire.receipt = wire_of(evidence->receipt);
    wire.certificate = wire_of(evidence->certificate);
    wire.n_blobs = evidence->blob_count;
    wire.blobs = wire_list_of_sha256(&scratch, evidence->blobs, evidence->blob_count);
    wire.n_blob_sizes = evidence->blob_count;
    wire.blob_sizes = (uint64_t *)(uintptr_t)evidence->blob_sizes;
    wire.trust = wire_of(evidence->trust);
    r = wire_pack(&wire.base, &scratch, EVIDENCE_HEAD_BYTES_MAX, &head);
    if (r < 0)
        return r;
    buffer_put(ret, MAGIC, MAGIC_BYTES);
    buffer_put_u32be(ret, (uint32_t)head.len);
    buffer_put_bytes(ret, buffer_bytes(&head));
    return buffer_finish(ret);
}

static void read_head(struct wire_reader *reader, struct evidence *ret)
{
    struct wire_items proof = {0}, blobs = {0}, blob_sizes = {0};

    while (wire_next(reader))
        switch (reader->field) {
        case 1:
            wire_uuid(reader, &ret->log);
            break;
        case 2:
            ret->seq = wire_u64(reader);
            break;
        case 3:
            ret->record = wire_bytes(reader, RECORD_BYTES_MAX);
            break;
        case 4:
            wire_item_sha256(reader, &proof, MERKLE_DEPTH_MAX);
            break;
        case 5:
            ret->receipt = wire_bytes(reader, NOTE_TEXT_BYTES_MAX);
            break;
        case 6:
            ret->certificate = wire_bytes(reader, ENROLMENT_BYTES_MAX);
            break;
        case 7:
            wire_item_sha256(reader, &blobs, EVIDENCE_BLOBS_MAX);
            break;
        case 8:
            wire_packed_u64(reader, &blob_sizes, EVIDENCE_BLOBS_MAX);
            break;
        case 10:
            ret->trust = wire_bytes(reader, TRUST_LIST_BYTES_MAX);
            break;
        }
    ret->proof = proof.items;
    ret->proof_count = proof.count;
    ret->blobs = blobs.items;
    ret->blob_count = blobs.count;
    ret->blob_sizes = blob_sizes.items;
    if (blobs.count != blob_sizes.count)
        wire_fail(reader, "not as many sizes as blobs");
    wire_demand(reader, WIRE_FIELD(1) | WIRE_FIELD(3) | WIRE_FIELD(5) | WIRE_FIELD(6));
}

int evidence_head_decode(
    struct bytes file_start, struct arena *arena, struct evidence *ret, size_t *ret_blobs_offset)
{
    struct cursor cursor = cursor_of(file_start);
    struct bytes magic = cursor_take(&cursor, MAGIC_BYTES);
    uint32_t head_len = cursor_u32be(&cursor);
    struct evidence evidence = {0};
    struct wire_reader reader;
    struct bytes head;

    if (cursor.failed || !bytes_equal(magic, bytes_of(MAGIC, MAGIC_BYTES)) ||
        head_len > EVIDENCE_HEAD_BYTES_MAX || head_len > cursor_left(&cursor))
        return -EBADMSG;
    head = cursor_take(&cursor, head_len);
    reader = wire_reader_of(head, arena);
    read_head(&reader, &evidence);
    if (!reader.error && !within_limits(&evidence))
        wire_fail(&reader, "a number is out of range");
    if (!reader.error) {
        *ret = evidence;
        *ret_blobs_offset = MAGIC_BYTES + sizeof(head_len) + head_len;
    }
    return wire_finish(&reader, NULL);
}

const char *evidence_verdict_text(enum evidence_verdict verdict)
{
    switch (verdict) {
    case EVIDENCE_GENUINE:
        return "genuine";
    case EVIDENCE_BAD_TRUST:
        return "not genuine: what it names as successors of this server's key was not signed by that key";
    case EVIDENCE_BAD_CERTIFICATE:
        return "not genuine: this server did not sign the device's certificate";
    case EVIDENCE_BAD_RECEIPT:
        return "not genuine: the receipt is not one of this server and this device for this log";
    case EVIDENCE_NOT_INCLUDED:
        return "not genuine: the receipted log does not hold this record at this position";
    case EVIDENCE_BAD_RECORD:
        return "not genuine: the record cannot be read, or is not a finding";
    case EVIDENCE_PHOTO_MISSING:
        return "incomplete: the record names a photo that the file does not hold";
    case EVIDENCE_PHOTO_ALTERED:
        return "not genuine: a photo in the file is not the one that the record names";
    }
    return "unknown verdict";
}

/* A name of the certificate as text. False when it is no part of a key name: NUL and blanks are refused
 * there. */
static bool copy_name(struct bytes name, char ret[KEY_NAME_MAX + 1])
{
    if (name.len == 0 || name.len > KEY_NAME_MAX)
        return false;
    memcpy(ret, name.data, name.len);
    ret[name.len] = '\0';
    return true;
}

/* What the certificate's names lead to. */
struct names {
    struct verify_key device;
    char origin[ORIGIN_BYTES_MAX];
};

/* False unless the certificate is one that the owner of the server's key name gives. */
static bool derive_names(const struct device_certificate *certificate, const struct uuid *log,
    const struct verify_key *server, struct names *ret)
{
    char authority[KEY_NAME_MAX + 1], tenant[KEY_NAME_MAX + 1], server_name[KEY_NAME_MAX + 1];

    if (!copy_name(certificate->authority, authority) || !copy_name(certificate->tenant, tenant) ||
        receipt_key_name(authority, server_name) < 0 || strcmp(server_name, server->name) != 0 ||
        device_key_name(authority, tenant, &certificate->device, ret->device.name) < 0 ||
        origin_format(authority, tenant, log, ret->origin) < 0)
        return false;
    memcpy(ret->device.public_key, certificate->public_key, SIGN_PUBLIC_BYTES);
    return true;
}

/* Checks who and when. Returns the verdict so far, or -errno. */
static int check_signatures(const struct evidence *evidence, const struct verify_key *server,
    struct arena *arena, struct evidence_facts *facts, struct checkpoint *ret_checkpoint)
{
    struct device_certificate certificate;
    struct checkpoint checkpoint;
    struct names names = {0};
    struct trust trust;
    uint64_t time_s;
    int r;

    r = trust_follow(evidence->trust, server, arena, &trust);
    if (r == -EBADMSG || r == -EKEYREJECTED)
        return EVIDENCE_BAD_TRUST;
    if (r < 0)
        return r;
    r = trust_verify_certificate(&trust, evidence->certificate, arena, &certificate);
    if (r == -EBADMSG || r == -EKEYREJECTED)
        return EVIDENCE_BAD_CERTIFICATE;
    if (r < 0)
        return r;
    if (!derive_names(&certificate, &evidence->log, server, &names))
        return EVIDENCE_BAD_CERTIFICATE;
    facts->certificate = certificate;

    r = trust_verify_receipt(&trust, evidence->receipt, &names.device, &checkpoint, &time_s);
    if (r == -EBADMSG || r == -EKEYREJECTED || (r == 0 && strcmp(checkpoint.origin, names.origin) != 0))
        return EVIDENCE_BAD_RECEIPT;
    if (r < 0)
        return r;
    facts->receipt_size = checkpoint.size;
    facts->receipt_time_s = time_s;
    *ret_checkpoint = checkpoint;
    return EVIDENCE_GENUINE;
}

static bool is_evidence_kind(enum record_kind kind)
{
    return kind == RECORD_FINDING || kind == RECORD_AMENDMENT || kind == RECORD_WITHDRAWAL;
}

/* Checks what the record says; of a rehomed one, what the record inside says, whose id is that of where it
 * stood first. Returns the verdict so far, or -errno. */
static int check_record(const struct evidence *evidence, const struct sha256 *leaf, struct arena *arena,
    struct evidence_facts *facts)
{
    struct uuid id = record_public_id(&evidence->log, evidence->seq, leaf);
    struct record record;
    int r;

    r = record_decode(evidence->record, arena, &record, NULL);
    if (r == 0 && record.kind == RECORD_REHOMED) {
        struct rehomed rehomed = record.rehomed;
        struct sha256 first_leaf = merkle_leaf(rehomed.record);

        id = record_public_id(&rehomed.log, rehomed.seq, &first_leaf);
        r = record_decode(rehomed.record, arena, &record, NULL);
    }
    if (r == -EBADMSG || (r == 0 && !is_evidence_kind(record.kind)))
        return EVIDENCE_BAD_RECORD;
    if (r < 0)
        return r;
    facts->record = record;
    facts->id = id;
    return EVIDENCE_GENUINE;
}

/* Looks for a blob that the record names. */
static enum evidence_verdict find_blob(const struct evidence *evidence, const struct sha256 *sha256,
    uint64_t size, bool named[EVIDENCE_BLOBS_MAX])
{
    for (size_t i = 0; i < evidence->blob_count; i++)
        if (sha256_equal(&evidence->blobs[i], sha256)) {
            named[i] = true;
            return evidence->blob_sizes[i] == size ? EVIDENCE_GENUINE : EVIDENCE_PHOTO_ALTERED;
        }
    return EVIDENCE_PHOTO_MISSING;
}

/* The file holds the photos that the record names, all of them and no others. */
static enum evidence_verdict check_photos(const struct evidence *evidence, const struct finding *finding)
{
    bool named[EVIDENCE_BLOBS_MAX] = {false};

    for (size_t i = 0; finding && i < finding->photo_count; i++) {
        const struct photo *photo = &finding->photos[i];
        enum evidence_verdict verdict = find_blob(evidence, &photo->sha256, photo->size, named);

        if (verdict == EVIDENCE_GENUINE && photo->preview_size > 0)
            verdict = find_blob(evidence, &photo->preview_sha256, photo->preview_size, named);
        if (verdict != EVIDENCE_GENUINE)
            return verdict;
    }
    for (size_t i = 0; i < evidence->blob_count; i++)
        if (!named[i])
            return EVIDENCE_PHOTO_ALTERED;
    return EVIDENCE_GENUINE;
}

int evidence_check(const struct evidence *evidence, const struct verify_key *server, struct arena *arena,
    struct evidence_facts *ret)
{
    struct sha256 leaf = merkle_leaf(evidence->record);
    struct evidence_facts facts = {0};
    struct checkpoint checkpoint;
    int r;

    r = check_signatures(evidence, server, arena, &facts, &checkpoint);
    if (r == EVIDENCE_GENUINE && merkle_check_inclusion(&leaf, evidence->seq, checkpoint.size,
                                     evidence->proof, evidence->proof_count, &checkpoint.root) < 0)
        r = EVIDENCE_NOT_INCLUDED;
    if (r == EVIDENCE_GENUINE)
        r = check_record(evidence, &leaf, arena, &facts);
    if (r == EVIDENCE_GENUINE)
        r = (int)check_photos(evidence, record_finding(&facts.record));
    if (r < 0)
        return r;
    facts.verdict = (enum evidence_verdict)r;
    *ret = facts;
    return 0;
}
