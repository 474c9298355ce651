package imageconfig

import (
	"encoding/json"
	"strings"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// Each change begins at the same configuration. What is wanted is that one's JSON with one part replaced: Docker's own answer
// for the same change, but where the comment says otherwise.
func TestApply(t *testing.T) {
	const base = `{"User":"user","ExposedPorts":{"80/tcp":{}},"Env":["A=1","B=x y"],"Entrypoint":["true"],"Cmd":["a","b"],"WorkingDir":"/tmp","Labels":{"x":"y"}}`
	for _, c := range []struct{ changes, from, to string }{
		{`LABEL q="r s" 'e f'=g`, `"Labels":{"x":"y"}`, `"Labels":{"e f":"g","q":"r s","x":"y"}`},
		{`LABEL x=$A${B:+set}\$A`, `"x":"y"`, `"x":"1set$A"`},
		{`ENV A="p q" C='$A' D=$A`, `["A=1","B=x y"]`, `["A=p q","B=x y","C=$A","D=1"]`},
		{`ENV A 5 6`, `"A=1"`, `"A=5 6"`},
		{`USER $A:"2"`, `"user"`, `"1:2"`},
		{`WORKDIR sub`, `"/tmp"`, `"/tmp/sub"`},
		{`WORKDIR sub;WORKDIR ../..`, `"/tmp"`, `"/"`},
		{`WORKDIR "/a b"/$A`, `"/tmp"`, `"/a b/1"`},
		{`EXPOSE 9$A/udp 92-93`, `"80/tcp":{}`, `"80/tcp":{},"91/udp":{},"92/tcp":{},"93/tcp":{}`},
		{`ENTRYPOINT ["e"]`, `"Entrypoint":["true"],"Cmd":["a","b"]`, `"Entrypoint":["e"]`},
		{`ENTRYPOINT e $A`, `"Entrypoint":["true"],"Cmd":["a","b"]`, `"Entrypoint":["/bin/sh","-c","e $A"]`},
		{`ENTRYPOINT ["e"];CMD ["f"]`, `["true"],"Cmd":["a","b"]`, `["e"],"Cmd":["f"]`},
		{`CMD ["f"];ENTRYPOINT ["e"]`, `["true"],"Cmd":["a","b"]`, `["e"],"Cmd":["f"]`},
		{`ENTRYPOINT []`, `"Entrypoint":["true"],`, ``}, // Docker keeps the one that was to go
		{`VOLUME /w$A /z`, `"WorkingDir"`, `"Volumes":{"/w1":{},"/z":{}},"WorkingDir"`},
		{`STOPSIGNAL RTMIN+$A`, `"x":"y"}`, `"x":"y"},"StopSignal":"RTMIN+1"`},
		{`HEALTHCHECK --retries=2 CMD echo "$A"`, `"x":"y"}`, `"x":"y"},"Healthcheck":{"Test":["CMD-SHELL","echo \"$A\""],"Retries":2}`},
		{`ONBUILD RUN "$A"`, `"x":"y"}`, `"x":"y"},"OnBuild":["RUN \"$A\""]`},
		{` ; `, ``, ``},
	} {
		var config dockerspec.DockerOCIImageConfig
		if err := json.Unmarshal([]byte(base), &config); err != nil {
			t.Fatal(err)
		}
		if err := Apply(&config, strings.Split(c.changes, ";")); err != nil {
			t.Errorf("%s: %v", c.changes, err)
			continue
		}
		var want dockerspec.DockerOCIImageConfig
		if err := json.Unmarshal([]byte(strings.Replace(base, c.from, c.to, 1)), &want); err != nil {
			t.Fatal(c.changes, err)
		}
		got, _ := json.Marshal(config)
		wanted, _ := json.Marshal(want)
		if string(got) != string(wanted) {
			t.Errorf("%s:\n%s, want\n%s", c.changes, got, wanted)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	for change, words := range map[string]string{
		"EXPOSE 80/foo":      "invalid proto",
		"EXPOSE x":           "invalid start port",
		"STOPSIGNAL foo":     "invalid signal: foo",
		"SHELL [\"a\"]":      "shell is not a valid change command",
		"RUN true":           "run is not a valid change command",
		"LABEL a=\"b":        "unexpected end of statement",
		"USER ${A:?must be}": "must be",
		"ENV":                "requires at least one argument",
	} {
		var config dockerspec.DockerOCIImageConfig
		if err := Apply(&config, []string{change}); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", change, err, words)
		}
	}
}
