package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/spf13/cobra"

	"pier/cli/internal/table"
	"pier/client"
	"pier/lib/id"
)

func newImages(a *app) *cobra.Command {
	var all, digests, noTrunc, quiet bool
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use: "images [OPTIONS] [REPOSITORY[:TAG]]", Short: "List images", Args: rangeArgs(0, 1), ValidArgsFunction: a.completeImages(),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			conditions, err := client.ParseFilters(filters)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				conditions.Add("reference", args[0])
			}
			list, err := c.Images().List(ctx, all, conditions)
			if err != nil {
				return err
			}
			columns := "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
			if digests {
				columns = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
			}
			if quiet && (format == "" || format == "table") {
				format = "{{.ID}}"
			}
			var rows []imageRow
			for i := range list {
				rows = append(rows, imageRows(&list[i], !noTrunc, quiet)...)
			}
			head := imageRow{Containers: "CONTAINERS", CreatedAt: "CREATED AT", CreatedSince: "CREATED", Digest: "DIGEST", ID: "IMAGE ID", Repository: "REPOSITORY",
				SharedSize: "SHARED SIZE", Size: "SIZE", Tag: "TAG", UniqueSize: "UNIQUE SIZE", VirtualSize: "SIZE"}
			return table.Render(a.Out, format, columns, head, rows)
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "Show all images (default hides intermediate and dangling images)")
	f.BoolVar(&digests, "digests", false, "Show digests")
	f.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	f.BoolVarP(&quiet, "quiet", "q", false, "Only show image IDs")
	f.StringVar(&format, "format", "", formatHelp)
	f.StringArrayVarP(&filters, "filter", "f", nil, "Filter output based on conditions provided")
	return cmd
}

type imageRow struct {
	Containers, CreatedAt, CreatedSince, Digest, ID, Repository, SharedSize, Size, Tag, UniqueSize, VirtualSize string
}

// imageRows makes a row for every name of the image, or one for an image without.
func imageRows(s *image.Summary, short, once bool) []imageRow {
	base := imageRow{ID: s.ID, Digest: "<none>", Repository: "<none>", Tag: "<none>", Containers: "N/A", SharedSize: "N/A", UniqueSize: "N/A",
		Size: table.Size(s.Size), VirtualSize: table.Size(s.Size), CreatedSince: table.Ago(s.Created), CreatedAt: time.Unix(s.Created, 0).String()}
	if s.Containers >= 0 {
		base.Containers = strconv.FormatInt(s.Containers, 10)
	}
	if s.SharedSize >= 0 {
		base.SharedSize, base.UniqueSize = table.Size(s.SharedSize), table.Size(s.Size-s.SharedSize)
	}
	if short {
		base.ID = id.Short(s.ID)
	}
	digestOf := map[string]string{}
	for _, d := range s.RepoDigests {
		if repo, digest, ok := strings.Cut(d, "@"); ok {
			digestOf[repo] = digest
		}
	}
	var rows []imageRow
	tagged := map[string]bool{}
	for _, name := range s.RepoTags {
		row := base
		i := strings.LastIndex(name, ":")
		if i < 0 || strings.Contains(name, "<none>") {
			continue
		}
		row.Repository, row.Tag = name[:i], name[i+1:]
		if d, ok := digestOf[row.Repository]; ok {
			row.Digest = d
		}
		tagged[row.Repository] = true
		rows = append(rows, row)
	}
	for repo, digest := range digestOf {
		if repo != "<none>" && !tagged[repo] {
			row := base
			row.Repository, row.Digest = repo, digest
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		rows = []imageRow{base}
	}
	if once {
		rows = rows[:1]
	}
	return rows
}
