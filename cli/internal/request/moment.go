package request

import (
	"strconv"
	"time"
)

// Moment turns what people write (a duration back from now, a date, a Unix time) into the API's seconds.nanoseconds.
func Moment(s string, now time.Time) (string, error) {
	if s == "" {
		return "", nil
	}
	if d, err := time.ParseDuration(s); s != "0" && err == nil { // "0" is 1970
		return unixText(now.Add(-d)), nil
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02", "2006-01-02Z07:00"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return unixText(t), nil
		}
	}
	return "", invalid("failed to parse value as time or duration: %q; use a duration such as 42m, a date such as 2006-01-02T15:04:05Z, or seconds since 1970", s)
}

func unixText(t time.Time) string {
	return strconv.FormatInt(t.Unix(), 10) + "." + strconv.FormatInt(int64(t.Nanosecond())+1e9, 10)[1:]
}
