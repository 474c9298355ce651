package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/spf13/cobra"

	"pier/client"
)

func newLogs(a *app) *cobra.Command {
	var o client.LogsOptions
	cmd := &cobra.Command{
		Use: "logs [OPTIONS] CONTAINER", Short: "Fetch the logs of a container", Args: exactArgs(1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			var err error
			now := time.Now()
			if o.Since, err = moment(o.Since, now); err != nil {
				return fmt.Errorf(`invalid value for "since": %w`, err)
			}
			if o.Until, err = moment(o.Until, now); err != nil {
				return fmt.Errorf(`invalid value for "until": %w`, err)
			}
			info, err := c.Containers().Inspect(ctx, args[0])
			if err != nil {
				return err
			}
			body, err := c.Streams().Logs(ctx, info.ID, o)
			if err != nil {
				return err
			}
			defer body.Close()
			if info.Config.Tty {
				_, err = io.Copy(a.Out, body)
			} else {
				_, err = stdcopy.StdCopy(a.Out, a.Err, body)
			}
			if errors.Is(err, context.Canceled) {
				return nil // ctrl-c is how one stops following
			}
			return err
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "Follow log output")
	f.BoolVarP(&o.Timestamps, "timestamps", "t", false, "Show timestamps")
	f.BoolVar(&o.Details, "details", false, "Show extra details provided to logs")
	f.StringVar(&o.Since, "since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	f.StringVar(&o.Until, "until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`)
	f.StringVarP(&o.Tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
	return cmd
}

// moment turns what people write (a duration back from now, a date, a Unix time) into the API's seconds.nanoseconds.
func moment(s string, now time.Time) (string, error) {
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
