/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the reading of patrol-photo's answer: what is accepted is what would be written. */
#include "collector/photo/answer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct photo_facts facts;
    if (photo_answer_parse((const char *)data, size, &facts) < 0)
        return 0;
    char line[PHOTO_ANSWER_LINE_MAX];
    int len = photo_answer_format(&facts, line, sizeof(line));
    if (len < 0 || (size_t)len != size || memcmp(line, data, size) != 0)
        abort();
    return 0;
}
