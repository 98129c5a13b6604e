/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent remembers over a restart, as settings of the store: which dictionary the server takes, which
 * incarnation of its database was last found in order, its time, when it was last found to lack something,
 * what of the day's budget is used, and how the last resync ended. Losing one of them costs bytes or a round
 * trip, never a record.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"
#include "proto/compression.h"
#include "syncd/core/tls_floor.h"

#include <errno.h>

static void keep(struct agent *agent, const char *key, const char *text)
{
    int r = store_set_setting(agent->store, key, bytes_of_text(text));

    if (r < 0)
        agent_note(agent, LOG_LEVEL_WARNING, "the setting %s could not be kept: %s", key, strerror(-r));
}

/* The first word of "<server time ms> <boot clock ms> <boot id in hex>". */
static void load_server_time(struct agent *agent)
{
    _cleanup_buffer_ struct buffer text = {0};
    uint64_t server_ms;
    char *rest = NULL;

    if (store_setting(agent->store, STORE_SETTING_SERVER_TIME, &text) < 0 || !buffer_text(&text))
        return;
    const char *word = strtok_r((char *)text.data, " ", &rest);
    if (word && text_parse_u64(word, &server_ms) >= 0 && server_ms <= INT64_MAX)
        agent->known_server_time_ms = (int64_t)server_ms;
}

static int next_number(char **rest, uint64_t *ret)
{
    const char *word = strtok_r(NULL, " ", rest);

    return word ? text_parse_u64(word, ret) : -EBADMSG;
}

/* ---- the last resync ---- */

/* The numbers of a report, in the order in which they are kept after "1": a later form gets another word. */
#define REPORT_FORM "1"
#define REPORT_NUMBERS 18u
#define REPORT_TEXT_MAX (REPORT_NUMBERS * 21u + sizeof(REPORT_FORM))

static void list_numbers(const struct resync_report *report, uint64_t ret[REPORT_NUMBERS])
{
    const uint64_t numbers[REPORT_NUMBERS] = {(uint64_t)report->finished_ms, report->ok, report->failed,
        report->cause, report->level, report->records_checked, report->records_missing,
        report->records_damaged, report->records_sent_again, report->records_gone, report->records_erased,
        report->records_lost, report->records_quarantined, report->blobs_checked, report->blobs_missing,
        report->blobs_sent_again, report->blobs_gone, report->blobs_lost};

    memcpy(ret, numbers, sizeof(numbers));
}

static void take_numbers(const uint64_t numbers[REPORT_NUMBERS], struct resync_report *ret)
{
    *ret = (struct resync_report){.finished = true,
        .finished_ms = (int64_t)numbers[0],
        .ok = numbers[1] == 1,
        .failed = numbers[2] == 1,
        .cause = (enum resync_cause)numbers[3],
        .level = (enum audit_level)numbers[4],
        .records_checked = numbers[5],
        .records_missing = numbers[6],
        .records_damaged = numbers[7],
        .records_sent_again = numbers[8],
        .records_gone = numbers[9],
        .records_erased = numbers[10],
        .records_lost = numbers[11],
        .records_quarantined = numbers[12],
        .blobs_checked = numbers[13],
        .blobs_missing = numbers[14],
        .blobs_sent_again = numbers[15],
        .blobs_gone = numbers[16],
        .blobs_lost = numbers[17]};
    if (ret->failed)
        ret->problem = "it could not be carried to its end";
}

void memory_keep_report(struct agent *agent)
{
    uint64_t numbers[REPORT_NUMBERS];
    char text[REPORT_TEXT_MAX] = REPORT_FORM;
    size_t len = strlen(text);

    list_numbers(&agent->report, numbers);
    for (size_t i = 0; i < REPORT_NUMBERS; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, " %llu", (unsigned long long)numbers[i]);
    keep(agent, SETTING_REPORT, text);
}

/* Nothing is taken of what cannot be read whole. */
static void load_report(struct agent *agent)
{
    _cleanup_buffer_ struct buffer text = {0};
    uint64_t numbers[REPORT_NUMBERS];
    char *rest = NULL;
    const char *form;
    int r = store_setting(agent->store, SETTING_REPORT, &text);

    if (r < 0 || !buffer_text(&text))
        return;
    form = strtok_r((char *)text.data, " ", &rest);
    if (!form || strcmp(form, REPORT_FORM) != 0)
        return;
    for (size_t i = 0; i < REPORT_NUMBERS; i++)
        if (next_number(&rest, &numbers[i]) < 0)
            return;
    if (numbers[0] <= INT64_MAX && numbers[3] <= RESYNC_SELF_AUDIT && numbers[4] <= AUDIT_MEDIA)
        take_numbers(numbers, &agent->report);
}

void memory_load(struct agent *agent)
{
    _cleanup_buffer_ struct buffer dictionary = {0}, columns = {0}, incarnation = {0}, doubt = {0};
    uint64_t name, doubt_ms;

    if (store_setting(agent->store, SETTING_DICTIONARY, &dictionary) >= 0 && buffer_text(&dictionary) &&
        text_parse_u64((const char *)dictionary.data, &name) >= 0 && name <= UINT32_MAX &&
        dictionary_is_known((uint32_t)name))
        agent->dictionary = (uint32_t)name;
    agent->takes_columns = store_setting(agent->store, SETTING_COLUMNS, &columns) >= 0 && columns.len == 1 &&
                           columns.data[0] == '1';
    if (store_setting(agent->store, SETTING_INCARNATION, &incarnation) >= 0 && buffer_text(&incarnation) &&
        text_parse_uuid((const char *)incarnation.data, agent->incarnation.b) >= 0)
        agent->has_incarnation = true;
    if (store_setting(agent->store, SETTING_DOUBT, &doubt) >= 0 && buffer_text(&doubt) &&
        text_parse_u64((const char *)doubt.data, &doubt_ms) >= 0 && doubt_ms <= INT64_MAX)
        agent->doubt_server_time_ms = (int64_t)doubt_ms;
    load_server_time(agent);
    load_report(agent);
}

/* By the server's clock. Where that went back meanwhile, too much is doubted, which costs another contact. */
void memory_keep_doubt(struct agent *agent, int64_t server_time_ms)
{
    char text[24];

    if (server_time_ms <= agent->doubt_server_time_ms)
        return;
    agent->doubt_server_time_ms = server_time_ms;
    snprintf(text, sizeof(text), "%lld", (long long)agent->doubt_server_time_ms);
    keep(agent, SETTING_DOUBT, text);
}

static void take_columns(struct agent *agent, bool takes_columns)
{
    if (takes_columns == agent->takes_columns)
        return;
    agent->takes_columns = takes_columns;
    keep(agent, SETTING_COLUMNS, takes_columns ? "1" : "0");
}

void memory_take_capabilities(struct agent *agent, const struct capabilities *capabilities)
{
    const uint32_t *ours;
    size_t count = dictionary_names(&ours);
    uint32_t chosen = DICTIONARY_NONE;
    char text[16];

    for (size_t i = 0; i < count && chosen == DICTIONARY_NONE; i++)
        for (size_t k = 0; k < capabilities->dictionary_count && chosen == DICTIONARY_NONE; k++)
            if (capabilities->dictionaries[k] == ours[i])
                chosen = ours[i];
    take_columns(agent, capabilities->takes_columns);
    if (chosen == agent->dictionary)
        return;
    agent->dictionary = chosen;
    snprintf(text, sizeof(text), "%lu", (unsigned long)chosen);
    keep(agent, SETTING_DICTIONARY, text);
}

void memory_drop_capabilities(struct agent *agent)
{
    take_columns(agent, false);
    agent->dictionary = DICTIONARY_NONE;
    keep(agent, SETTING_DICTIONARY, "0");
}

bool memory_take_incarnation(struct agent *agent, const struct uuid *incarnation)
{
    bool is_first = !agent->has_incarnation;

    if (uuid_is_nil(incarnation))
        return false;
    if (is_first || !uuid_equal(&agent->incarnation, incarnation)) {
        agent->has_incarnation = true;
        agent->incarnation = *incarnation;
        if (is_first)
            memory_keep_incarnation(agent);
        else
            agent->incarnation_differs = true;
    }
    return agent->incarnation_differs;
}

void memory_keep_incarnation(struct agent *agent)
{
    char text[UUID_TEXT_LEN + 1];

    if (!agent->has_incarnation)
        return;
    agent->incarnation_differs = false;
    text_uuid(agent->incarnation.b, text);
    keep(agent, SETTING_INCARNATION, text);
}

void memory_take_server_time(struct agent *agent, int64_t server_time_ms, int64_t certificate_not_after_ms)
{
    uint64_t boot_ms = agent_now_ms(agent);
    uint8_t boot_id[BOOT_ID_BYTES];
    char boot_id_text[2 * BOOT_ID_BYTES + 1], text[96];

    agent->last_server_time_ms = agent->known_server_time_ms = server_time_ms;
    if (certificate_not_after_ms != 0 && !tls_floor_takes(server_time_ms, certificate_not_after_ms))
        return;
    /* Every write is an fsync: often enough is enough. */
    if (agent->server_time_kept && boot_ms - agent->server_time_kept_boot_ms < SERVER_TIME_EVERY_MS)
        return;
    agent->server_time_kept = true;
    agent->server_time_kept_boot_ms = boot_ms;
    agent->world->verbs->boot_id(agent->world->context, boot_id);
    text_hex(boot_id, sizeof(boot_id), boot_id_text);
    snprintf(text, sizeof(text), "%lld %llu %s", (long long)server_time_ms, (unsigned long long)boot_ms,
        boot_id_text);
    keep(agent, STORE_SETTING_SERVER_TIME, text);
}

/* ---- the day's budget ---- */

/*
 *   "<boot id in hex> <boot clock ms> <elapsed ms> <server's ms at the day's start> <used bytes> ... "
 *
 * In the same boot the day has gone on by the boot clock. After another one nobody knows how long the device
 * was off: only the time since that boot has passed for certain, and the server tells the rest.
 */
void memory_keep_budget(struct agent *agent, const struct engine_budget *budget)
{
    uint8_t boot_id[BOOT_ID_BYTES];
    char boot_id_text[2 * BOOT_ID_BYTES + 1], text[BUDGET_TEXT_MAX];
    int len;

    agent->world->verbs->boot_id(agent->world->context, boot_id);
    text_hex(boot_id, sizeof(boot_id), boot_id_text);
    len = snprintf(text, sizeof(text), "%s %llu %llu %llu", boot_id_text,
        (unsigned long long)agent_now_ms(agent), (unsigned long long)budget->elapsed_ms,
        (unsigned long long)budget->server_start_ms);
    for (size_t network = 0; network < ENGINE_NETWORKS; network++)
        for (size_t lane = 0; lane < ENGINE_LANES; lane++)
            len += snprintf(text + len, sizeof(text) - (size_t)len, " %llu",
                (unsigned long long)budget->used[network][lane]);
    keep(agent, SETTING_BUDGET, budget->day_open ? text : "");
}

static int parse_budget(
    char *text, uint8_t ret_boot_id[BOOT_ID_BYTES], uint64_t *ret_boot_ms, struct engine_budget *ret)
{
    char *rest = NULL;
    const char *boot_id = strtok_r(text, " ", &rest);
    int r = boot_id ? text_parse_hex(boot_id, strlen(boot_id), ret_boot_id, BOOT_ID_BYTES) : -EBADMSG;

    if (r >= 0)
        r = next_number(&rest, ret_boot_ms);
    if (r >= 0)
        r = next_number(&rest, &ret->elapsed_ms);
    if (r >= 0)
        r = next_number(&rest, &ret->server_start_ms);
    for (size_t i = 0; i < (size_t)ENGINE_NETWORKS * ENGINE_LANES && r >= 0; i++)
        r = next_number(&rest, &ret->used[i / ENGINE_LANES][i % ENGINE_LANES]);
    return r;
}

int memory_budget(struct agent *agent, struct engine_budget *ret)
{
    _cleanup_buffer_ struct buffer text = {0};
    struct engine_budget budget = {.day_open = true};
    uint8_t boot_id[BOOT_ID_BYTES], kept_boot_id[BOOT_ID_BYTES];
    uint64_t now_ms = agent_now_ms(agent), kept_ms, passed_ms;
    int r = store_setting(agent->store, SETTING_BUDGET, &text);

    if (r >= 0 && !buffer_text(&text))
        r = -ENOMEM;
    if (r >= 0)
        r = parse_budget((char *)text.data, kept_boot_id, &kept_ms, &budget);
    if (r < 0)
        return r;
    agent->world->verbs->boot_id(agent->world->context, boot_id);
    passed_ms = now_ms;
    if (memcmp(boot_id, kept_boot_id, sizeof(boot_id)) == 0)
        passed_ms = now_ms > kept_ms ? now_ms - kept_ms : 0;
    if (__builtin_add_overflow(budget.elapsed_ms, passed_ms, &budget.elapsed_ms))
        return -ERANGE;
    *ret = budget;
    return 0;
}
