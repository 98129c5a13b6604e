/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/core/finding_form.h"

#include "base/rfc3339.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define ACCURACY_M_MAX 100000.0
#define SHOWN_TEXT_MAX 40

static int refuse(struct form_refusal *refusal, const char *format, ...) _printf_(2, 3);
static int refuse(struct form_refusal *refusal, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal->message, sizeof(refusal->message), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

/* What was given, fit to be shown inside one line: cut, and without control characters or broken UTF-8. */
struct shown {
    char text[SHOWN_TEXT_MAX + 4];
};

static struct shown shown_of(const char *text)
{
    struct shown shown = {""};
    size_t len = strnlen(text, SHOWN_TEXT_MAX + 1);
    bool cut = len > SHOWN_TEXT_MAX;
    if (cut)
        len = SHOWN_TEXT_MAX;
    while (len > 0 && cut && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    bool plain = text_is_utf8(bytes_of(text, len));
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        bool hidden = byte < 0x20 || byte == 0x7f || (!plain && byte >= 0x80);
        shown.text[i] = hidden ? '?' : text[i];
    }
    if (cut)
        memcpy(shown.text + len, "...", 4);
    return shown;
}

/* ---- category ---- */

static int refuse_code(const struct directory *directory, enum category_kind kind, const char *field,
    const char *code, struct form_refusal *refusal)
{
    enum category_kind other = kind == CATEGORY_MATTER ? CATEGORY_COMPONENT : CATEGORY_MATTER;
    struct shown shown = shown_of(code);
    if (directory_find(directory, other, code))
        return refuse(refusal, "%s: %s is the code of a %s; give it as --%s", field, shown.text,
            category_kind_name(other), other == CATEGORY_MATTER ? "category" : "component");
    const struct directory_entry *near[DIRECTORY_SUGGESTIONS_MAX];
    size_t count = directory_suggest(directory, kind, code, near);
    if (count == 0)
        return refuse(
            refusal, "%s: unknown code \"%s\"; look one up with: patrol categories TEXT", field, shown.text);
    struct buffer list = {0};
    for (size_t i = 0; i < count; i++)
        buffer_printf(&list, "%s%s %s", i > 0 ? ", " : "", near[i]->code, directory_name(near[i], false));
    const char *text = buffer_text(&list);
    int r = refuse(
        refusal, "%s: unknown code \"%s\"; nearest: %s", field, shown.text, text ? text : near[0]->code);
    buffer_done(&list);
    return r;
}

static int take_category(const struct finding_form *form, const struct directory *directory,
    struct category *ret, struct form_refusal *refusal)
{
    if (!form->category || !form->category[0])
        return refuse(
            refusal, "category: missing; give --category CODE (look one up with: patrol categories TEXT)");
    const struct directory_entry *matter = directory_find(directory, CATEGORY_MATTER, form->category);
    if (!matter)
        return refuse_code(directory, CATEGORY_MATTER, "category", form->category, refusal);
    struct category category = {
        .scheme = bytes_of_text(directory->scheme),
        .version = bytes_of_text(directory->version),
        .code = bytes_of_text(matter->code),
    };
    if (form->component && form->component[0]) {
        const struct directory_entry *component =
            directory_find(directory, CATEGORY_COMPONENT, form->component);
        if (!component)
            return refuse_code(directory, CATEGORY_COMPONENT, "component", form->component, refusal);
        category.component = bytes_of_text(component->code);
    }
    *ret = category;
    return 0;
}

/* ---- texts ---- */

static int take_text(
    const char *field, struct bytes text, size_t len_max, struct bytes *ret, struct form_refusal *refusal)
{
    if (text.len > len_max)
        return refuse(refusal, "%s: %zu bytes, at most %zu are taken; shorten it", field, text.len, len_max);
    if (!text_is_utf8(text))
        return refuse(
            refusal, "%s: not UTF-8 text; convert it, for example with: iconv -f GB18030 -t UTF-8", field);
    *ret = text;
    return 0;
}

int form_text_take(
    const char *field, const char *text, size_t len_max, struct bytes *ret, struct form_refusal *refusal)
{
    if (!text || !text[0])
        return refuse(refusal, "%s: missing; give a text", field);
    return take_text(field, bytes_of_text(text), len_max, ret, refusal);
}

static int take_severity(const char *name, enum severity *ret, struct form_refusal *refusal)
{
    if (severity_from_name(name, ret) < 0 || *ret == SEVERITY_NONE)
        return refuse(
            refusal, "severity: unknown \"%s\"; use minor, normal, serious or urgent", shown_of(name).text);
    return 0;
}

/* ---- place and time ---- */

static int take_degrees(
    const char *field, const char *text, unsigned limit, int32_t *ret, struct form_refusal *refusal)
{
    int r = text_parse_e7(text, limit, ret);
    if (r == -ERANGE)
        return refuse(refusal, "%s: %s is out of range; degrees from -%u to %u", field, shown_of(text).text,
            limit, limit);
    if (r < 0)
        return refuse(refusal, "%s: \"%s\" is no number; give decimal degrees such as 31.2304", field,
            shown_of(text).text);
    return 0;
}

static int take_instant(const char *field, const char *text, int64_t *ret, struct form_refusal *refusal)
{
    int64_t unix_ms;
    if (rfc3339_parse(text, &unix_ms, NULL) < 0)
        return refuse(refusal, "%s: \"%s\" is no time with an offset; write it as 2026-11-23T16:30:00+08:00",
            field, shown_of(text).text);
    /* 0 stands for "not given" in a record: the one millisecond at the epoch is told apart by one more. */
    *ret = unix_ms == 0 ? 1 : unix_ms;
    return 0;
}

static int take_accuracy(const char *text, uint32_t *ret, struct form_refusal *refusal)
{
    double metres;
    if (text_parse_double(text, &metres) < 0 || !(metres >= 0.0) || metres > ACCURACY_M_MAX)
        return refuse(refusal, "accuracy: \"%s\" is no number of metres from 0 to %.0f", shown_of(text).text,
            ACCURACY_M_MAX);
    uint32_t decimetres = (uint32_t)(metres * 10.0 + 0.5);
    *ret = metres > 0.0 && decimetres == 0 ? 1 : decimetres;
    return 0;
}

static int take_position(const struct finding_form *form, struct finding *ret, struct form_refusal *refusal)
{
    if (!form->lat)
        return refuse(refusal, "lat: missing; give both --lat and --lon");
    if (!form->lon)
        return refuse(refusal, "lon: missing; give both --lat and --lon");
    struct finding_position position = {0};
    int r = take_degrees("lat", form->lat, 90, &position.lat_e7, refusal);
    if (r >= 0)
        r = take_degrees("lon", form->lon, 180, &position.lon_e7, refusal);
    if (r >= 0 && form->accuracy)
        r = take_accuracy(form->accuracy, &position.accuracy_dm, refusal);
    if (r >= 0 && form->fix_time)
        r = take_instant("fix_time", form->fix_time, &position.fix_time_ms, refusal);
    if (r < 0)
        return r;
    ret->has_position = true;
    ret->position = position;
    ret->no_fix = (struct bytes){0};
    return 0;
}

static int take_place(const struct finding_form *form, struct finding *ret, struct form_refusal *refusal)
{
    if (!form->no_fix)
        return take_position(form, ret, refusal);
    if (form->lat || form->lon || form->accuracy || form->fix_time)
        return refuse(refusal, "no_fix: given together with a position; give one or the other");
    if (!form->no_fix[0])
        return refuse(refusal, "no_fix: empty; say why there is no position, for example \"indoors\"");
    struct bytes reason;
    int r = take_text("no_fix", bytes_of_text(form->no_fix), REASON_BYTES_MAX, &reason, refusal);
    if (r < 0)
        return r;
    ret->has_position = false;
    ret->position = (struct finding_position){0};
    ret->no_fix = reason;
    return 0;
}

static bool gives_place(const struct finding_form *form)
{
    return form->lat || form->lon || form->accuracy || form->fix_time || form->no_fix;
}

/* ---- whole forms ---- */

int finding_form_take(const struct finding_form *form, const struct directory *directory, struct finding *ret,
    struct form_refusal *refusal)
{
    struct finding finding = {.severity = SEVERITY_NORMAL};
    int r = take_category(form, directory, &finding.category, refusal);
    if (r >= 0 && form->severity)
        r = take_severity(form->severity, &finding.severity, refusal);
    if (r >= 0 && form->note.data)
        r = take_text("note", form->note, NOTE_BYTES_MAX, &finding.note, refusal);
    if (r >= 0 && !gives_place(form))
        r = refuse(refusal, "position: missing; give --lat and --lon, or --no-fix REASON");
    if (r >= 0)
        r = take_place(form, &finding, refusal);
    if (r >= 0 && form->observed_at)
        r = take_instant("observed_at", form->observed_at, &finding.observed_ms, refusal);
    if (r < 0)
        return r;
    *ret = finding;
    return 0;
}

/* Whether a category that was recorded before is of the directory in use now. */
static bool is_of_directory(const struct category *category, const struct directory *directory)
{
    return bytes_equal(category->scheme, bytes_of_text(directory->scheme)) &&
           bytes_equal(category->version, bytes_of_text(directory->version));
}

int finding_form_amend(const struct finding_form *form, const struct directory *directory,
    const struct finding *before, bool photos_added, struct finding *ret, struct form_refusal *refusal)
{
    bool gives_any = form->category || form->component || form->severity || form->note.data ||
                     gives_place(form) || form->observed_at || photos_added;
    if (!gives_any)
        return refuse(refusal, "amend: nothing to change; give at least one option of record");
    struct finding finding = *before;
    int r = 0;
    if (form->category)
        r = take_category(form, directory, &finding.category, refusal);
    if (r >= 0 && !form->category && form->component && form->component[0] &&
        !is_of_directory(&finding.category, directory)) {
        r = refuse(refusal, "component: the finding's category is of another directory; give --category too");
    } else if (r >= 0 && !form->category && form->component) {
        const struct directory_entry *component =
            directory_find(directory, CATEGORY_COMPONENT, form->component);
        if (form->component[0] && !component)
            r = refuse_code(directory, CATEGORY_COMPONENT, "component", form->component, refusal);
        else
            finding.category.component = component ? bytes_of_text(component->code) : (struct bytes){0};
    }
    if (r >= 0 && form->severity)
        r = take_severity(form->severity, &finding.severity, refusal);
    if (r >= 0 && form->note.data)
        r = take_text("note", form->note, NOTE_BYTES_MAX, &finding.note, refusal);
    if (r >= 0 && gives_place(form))
        r = take_place(form, &finding, refusal);
    if (r >= 0 && form->observed_at)
        r = take_instant("observed_at", form->observed_at, &finding.observed_ms, refusal);
    if (r < 0)
        return r;
    *ret = finding;
    return 0;
}
