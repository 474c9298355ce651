package row

import (
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/image"

	"pier/cli/internal/table"
	"pier/lib/id"
)

// Image is one line of `images`.
type Image struct {
	Containers, CreatedAt, CreatedSince, Digest, ID, Repository, SharedSize, Size, Tag, UniqueSize, VirtualSize string
}

// ImagesOf makes a row for every name of the image, or one for an image without.
func ImagesOf(s *image.Summary, short, once bool) []Image {
	base := Image{ID: s.ID, Digest: "<none>", Repository: "<none>", Tag: "<none>", Containers: "N/A", SharedSize: "N/A", UniqueSize: "N/A",
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
	var rows []Image
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
		rows = []Image{base}
	}
	if once {
		rows = rows[:1]
	}
	return rows
}

// ImageHead holds the titles.
func ImageHead() Image {
	return Image{Containers: "CONTAINERS", CreatedAt: "CREATED AT", CreatedSince: "CREATED", Digest: "DIGEST", ID: "IMAGE ID", Repository: "REPOSITORY",
		SharedSize: "SHARED SIZE", Size: "SIZE", Tag: "TAG", UniqueSize: "UNIQUE SIZE", VirtualSize: "SIZE"}
}
