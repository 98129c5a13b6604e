/* SPDX-License-Identifier: Apache-2.0 */
/* EXIF through libexif; see exif.h. */
#include "collector/photo/exif.h"

#include <libexif/exif-data.h>

#define EXIF_BYTES_MAX (64u * 1024u) /* a JPEG segment holds no more, and nor do we take more from a PNG */

static const uint8_t exif_intro[6] = "Exif\0";

DEFINE_CLEANUP(ExifData, exif_data_unref);

static const ExifEntry *find_entry(
    const ExifData *data, ExifIfd ifd, ExifTag tag, ExifFormat format, unsigned long count)
{
    ExifEntry *entry = exif_content_get_entry(data->ifd[ifd], tag);
    if (!entry || entry->format != format || entry->components < count || !entry->data ||
        entry->size < count * exif_format_get_size(format))
        return NULL;
    return entry;
}

static uint8_t read_orientation(const ExifData *data, ExifByteOrder order)
{
    const ExifEntry *entry = find_entry(data, EXIF_IFD_0, EXIF_TAG_ORIENTATION, EXIF_FORMAT_SHORT, 1);
    unsigned orientation = entry ? exif_get_short(entry->data, order) : 1;
    return orientation >= 1 && orientation <= 8 ? (uint8_t)orientation : 1;
}

/* "2015:04:10 20:12:23" becomes "2015-04-10T20:12:23". */
static void read_time(const ExifData *data, struct photo_facts *facts)
{
    const size_t len = sizeof(facts->exif_time) - 1;
    const ExifEntry *entry =
        find_entry(data, EXIF_IFD_EXIF, EXIF_TAG_DATE_TIME_ORIGINAL, EXIF_FORMAT_ASCII, len);
    if (!entry)
        return;
    char text[sizeof(facts->exif_time)] = "";
    memcpy(text, entry->data, len);
    if (text[4] != ':' || text[7] != ':' || text[10] != ' ')
        return;
    text[4] = text[7] = '-';
    text[10] = 'T';
    if (photo_time_is_valid(text))
        memcpy(facts->exif_time, text, sizeof(text));
}

/* Some phones write their fractions signed, though the standard says otherwise. A negative one is none. */
static bool read_fraction(const ExifEntry *entry, size_t index, ExifByteOrder order, double *ret)
{
    const uint8_t *at = entry->data + 8 * index;
    double numerator;
    double denominator;
    if (entry->format == EXIF_FORMAT_SRATIONAL) {
        ExifSRational fraction = exif_get_srational(at, order);
        numerator = fraction.numerator;
        denominator = fraction.denominator;
    } else {
        ExifRational fraction = exif_get_rational(at, order);
        numerator = fraction.numerator;
        denominator = fraction.denominator;
    }
    /* 0/0 minutes or seconds are how some say that the degrees are complete. */
    bool left_out = denominator == 0 && numerator == 0 && index > 0;
    if (!left_out && (denominator <= 0 || numerator < 0))
        return false;
    *ret = left_out ? 0 : numerator / denominator;
    return true;
}

/* Degrees, minutes and seconds, and a letter for the half of the globe. Doubles carry some 15 digits; 10 are
 * needed. */
static bool read_angle(const ExifData *data, ExifByteOrder order, ExifTag tag, ExifTag half_tag,
    const uint8_t halves[2], double degrees_max, int32_t *ret_e7)
{
    static const double unit_e7[3] = {1e7, 1e7 / 60, 1e7 / 3600};
    const ExifEntry *entry = find_entry(data, EXIF_IFD_GPS, tag, EXIF_FORMAT_RATIONAL, 3);
    if (!entry)
        entry = find_entry(data, EXIF_IFD_GPS, tag, EXIF_FORMAT_SRATIONAL, 3);
    const ExifEntry *half = find_entry(data, EXIF_IFD_GPS, half_tag, EXIF_FORMAT_ASCII, 1);
    if (!entry || !half || (half->data[0] != halves[0] && half->data[0] != halves[1]))
        return false;
    double sum_e7 = 0;
    for (size_t i = 0; i < ARRAY_LEN(unit_e7); i++) {
        double part;
        if (!read_fraction(entry, i, order, &part))
            return false;
        sum_e7 += unit_e7[i] * part;
    }
    if (sum_e7 > degrees_max * 1e7)
        return false;
    int32_t e7 = (int32_t)(sum_e7 + 0.5);
    *ret_e7 = half->data[0] == halves[1] ? -e7 : e7;
    return true;
}

static void read_position(const ExifData *data, ExifByteOrder order, struct photo_facts *facts)
{
    static const uint8_t lat_halves[2] = {'N', 'S'};
    static const uint8_t lon_halves[2] = {'E', 'W'};
    int32_t lat_e7;
    int32_t lon_e7;
    if (!read_angle(data, order, (ExifTag)EXIF_TAG_GPS_LATITUDE, (ExifTag)EXIF_TAG_GPS_LATITUDE_REF,
            lat_halves, 90, &lat_e7) ||
        !read_angle(data, order, (ExifTag)EXIF_TAG_GPS_LONGITUDE, (ExifTag)EXIF_TAG_GPS_LONGITUDE_REF,
            lon_halves, 180, &lon_e7))
        return;
    if (lat_e7 == 0 && lon_e7 == 0)
        return;
    facts->has_position = true;
    facts->lat_e7 = lat_e7;
    facts->lon_e7 = lon_e7;
}

void exif_read(struct bytes exif, struct photo_facts *facts)
{
    if (exif.len >= sizeof(exif_intro) && memcmp(exif.data, exif_intro, sizeof(exif_intro)) == 0)
        exif = bytes_of(exif.data + sizeof(exif_intro), exif.len - sizeof(exif_intro));
    if (exif.len == 0 || exif.len > EXIF_BYTES_MAX)
        return;

    /* libexif wants the introduction; a PNG's eXIf chunk comes without. */
    _cleanup_free_ uint8_t *block = malloc(sizeof(exif_intro) + exif.len);
    _cleanup_(exif_data_unref_cleanup) ExifData *data = exif_data_new();
    if (!block || !data)
        return;
    memcpy(block, exif_intro, sizeof(exif_intro));
    memcpy(block + sizeof(exif_intro), exif.data, exif.len);

    /* What is there is wanted, not what the standard says should be there. */
    exif_data_unset_option(data, EXIF_DATA_OPTION_FOLLOW_SPECIFICATION);
    exif_data_set_option(data, EXIF_DATA_OPTION_DONT_CHANGE_MAKER_NOTE);
    exif_data_load_data(data, block, (unsigned)(sizeof(exif_intro) + exif.len));
    ExifByteOrder order = exif_data_get_byte_order(data);
    facts->orientation = read_orientation(data, order);
    read_time(data, facts);
    read_position(data, order, facts);
}
