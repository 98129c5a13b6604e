/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes one line of `record --from`: whatever is taken must become a record that can be encoded and read
 * back. */
#include "collector/finding_json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_finding(const struct finding *finding, struct bytes inspector)
{
    const struct record record = {
        .kind = RECORD_FINDING, .wall_ms = 1, .inspector = inspector, .finding = *finding};
    _cleanup_buffer_ struct buffer bytes = {0}, line = {0};
    _cleanup_arena_ struct arena arena;
    struct record again;

    if (record_encode(&record, &bytes) < 0)
        abort();
    arena_init(&arena, arena_budget_for(bytes.len));
    if (record_decode(buffer_bytes(&bytes), &arena, &again, NULL) < 0 ||
        !bytes_equal(again.finding.note, finding->note) ||
        again.finding.position.lat_e7 != finding->position.lat_e7)
        abort();
    const struct finding_state state = {.state = "queued"};
    finding_put_object(&again, &state, &line);
    json_t *object = json_loadb((const char *)line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object))
        abort(); /* what we print must be what others can read */
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct finding_line line;
    struct form_refusal refusal = {""};
    struct finding finding;
    struct bytes inspector = bytes_of_text("x");

    if (finding_line_parse(bytes_of(data, size), &line, &refusal) < 0) {
        if (!refusal.message[0] || strchr(refusal.message, '\n'))
            abort();
        return 0;
    }
    if (finding_form_take(&line.form, directory_built_in(), &finding, &refusal) < 0) {
        if (!refusal.message[0] || strchr(refusal.message, '\n'))
            abort();
    } else if (!line.inspector ||
               form_text_take("inspector", line.inspector, INSPECTOR_BYTES_MAX, &inspector, &refusal) >= 0) {
        check_finding(&finding, inspector);
    }
    finding_line_done(&line);
    return 0;
}
