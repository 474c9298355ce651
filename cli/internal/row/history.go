package row

import (
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/image"

	"pier/cli/internal/table"
	"pier/lib/id"
)

// History is one line of `history`.
type History struct{ ID, CreatedSince, CreatedAt, CreatedBy, Size, Comment string }

// HistoryHead has the titles.
func HistoryHead() History {
	return History{ID: "IMAGE", CreatedSince: "CREATED", CreatedAt: "CREATED AT", CreatedBy: "CREATED BY", Size: "SIZE", Comment: "COMMENT"}
}

// HistoryOf makes the row of one step of an image's making. human: sizes and dates are rounded, for people.
func HistoryOf(item image.HistoryResponseItem, human, short bool) History {
	r := History{ID: item.ID, CreatedBy: strings.ReplaceAll(item.CreatedBy, "\t", " "), Comment: item.Comment,
		CreatedAt: time.Unix(item.Created, 0).Format(time.RFC3339), CreatedSince: table.Ago(item.Created), Size: table.Size(item.Size)}
	if !human {
		r.CreatedSince, r.Size = r.CreatedAt, strconv.FormatInt(item.Size, 10)
	}
	if short {
		r.ID, r.CreatedBy = id.Short(r.ID), table.Ellipsis(r.CreatedBy, 45)
	}
	return r
}
