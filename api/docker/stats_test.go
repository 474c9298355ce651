package docker

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// fill gives every field a value, zero and empty ones among them.
func fill(r *rand.Rand, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(r.Int64N(4e9), r.Int64N(3)*100_000_000).In(time.FixedZone("", int(r.Int64N(3))*1800))))
		return
	}
	words := []string{"", "eth0", "total_rss", "a\"b", "<&>", "é\u2028", "\\", "\x01", "\xff"}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(r.Uint64() >> r.IntN(64) * uint64(r.IntN(2)))
	case reflect.String:
		v.SetString(words[r.IntN(len(words))])
	case reflect.Slice:
		if n := r.IntN(4); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n-1, n))
			for i := range n - 1 {
				fill(r, v.Index(i))
			}
		}
	case reflect.Map:
		if n := r.IntN(4); n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n - 1 {
				value := reflect.New(v.Type().Elem()).Elem()
				fill(r, value)
				v.SetMapIndex(reflect.ValueOf(words[r.IntN(len(words))]), value)
			}
		}
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

// TestStatsWriter compares with encoding/json, whatever fields the published type has.
func TestStatsWriter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var w StatsWriter
	for i := range 2000 {
		var s container.StatsResponse
		if i > 0 {
			fill(r, reflect.ValueOf(&s).Elem())
		}
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Append([]byte("before"), &s); string(got) != "before"+string(want) {
			t.Fatalf("sample %d:\n%s, not\n%s", i, got, want)
		}
	}
}

func BenchmarkStatsWriter(b *testing.B) {
	var s container.StatsResponse
	fill(rand.New(rand.NewPCG(1, 2)), reflect.ValueOf(&s).Elem())
	s.MemoryStats.Stats = map[string]uint64{}
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ" {
		s.MemoryStats.Stats["total_"+string(c)] = uint64(c) << 20
	}
	b.Run("ours", func(b *testing.B) {
		var w StatsWriter
		var out []byte
		for b.Loop() {
			out = w.Append(out[:0], &s)
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			_, _ = json.Marshal(&s)
		}
	})
}
