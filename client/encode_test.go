package client

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"

	"pier/api/docker"
)

// fill sets about half of what v holds to something.
func fill(r *rand.Rand, v reflect.Value, depth int) {
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(256)), 1})))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.0.0.0/8")))
		return
	case network.HardwareAddr:
		v.Set(reflect.ValueOf(network.HardwareAddr{2, 0, 0, 0, 0, byte(r.IntN(256))}))
		return
	case network.Port:
		v.Set(reflect.ValueOf(network.MustParsePort("80/tcp")))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(r.IntN(1<<30)), 0).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.IntN(4) * r.IntN(30)))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(r.IntN(4) * r.IntN(30)))
	case reflect.Float64:
		v.SetFloat(float64(r.IntN(8)) / 4)
	case reflect.String:
		v.SetString([]string{"", "plain", `<a href="x">&"\`, "\u2028 \t\n", "이미지"}[r.IntN(5)])
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(r, v.Field(i), depth)
			}
		}
	case reflect.Pointer:
		if r.IntN(2) == 0 && depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem(), depth-1)
		}
	case reflect.Slice:
		if n := r.IntN(4) - 1; n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i), depth)
		}
	case reflect.Map:
		if r.IntN(2) == 0 {
			v.Set(reflect.MakeMap(v.Type()))
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(r, key, depth)
			fill(r, value, depth)
			v.SetMapIndex(key, value)
		}
	}
}

// What a server decodes is the same as from json.Marshal, whatever is set.
func TestEncode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, example := range []any{container.CreateRequest{}, container.ExecCreateRequest{}, container.ExecStartRequest{},
		docker.Update{}, network.CreateRequest{}, network.ConnectRequest{}, volume.CreateRequest{}} {
		for range 300 {
			in := reflect.New(reflect.TypeOf(example))
			fill(r, in.Elem(), 4)
			want, err := json.Marshal(in.Interface())
			if err != nil {
				t.Fatal(err)
			}
			got, err := encode(in.Elem().Interface())
			if err != nil {
				t.Fatal(err)
			}
			a, b := reflect.New(in.Type().Elem()), reflect.New(in.Type().Elem())
			if err := json.Unmarshal(want, a.Interface()); err != nil {
				t.Fatalf("%v\n%s", err, want)
			}
			if err := json.Unmarshal(got, b.Interface()); err != nil {
				t.Fatalf("%v\n%s", err, got)
			}
			again, _ := json.Marshal(b.Interface())
			if first, _ := json.Marshal(a.Interface()); string(first) != string(again) {
				t.Fatalf("%T:\n%s\nbecame\n%s\nand not\n%s", example, got, again, first)
			}
		}
	}
	for _, v := range []any{nil, map[string]any{"a": 1}, []string{"x"}, "s", 3} {
		want, _ := json.Marshal(v)
		if got, err := encode(v); err != nil || string(got) != string(want) {
			t.Errorf("%v became %s, not %s (%v)", v, got, want, err)
		}
	}
	if _, err := encode(struct{ F func() }{func() {}}); err == nil {
		t.Error("a function was encoded")
	}
}
