package cli

import (
	"cmp"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pier/cli/internal/contexts"
	"pier/cli/internal/request"
	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/cli/internal/terminal"
	"pier/client"
)

func newContextGroup(a *app) *cobra.Command {
	ls := newContextLs(a)
	ls.Aliases = []string{"list"}
	rm := newContextRm(a)
	rm.Aliases = []string{"remove"}
	return group("context", "Manage contexts: daemons by name", newContextCreate(a), newContextExport(a), newContextImport(a), newContextInspect(a), ls, rm,
		&cobra.Command{Use: "show", Short: "Print the name of the current context", Args: noArgs, RunE: func(*cobra.Command, []string) error {
			a.printf("%s\n", a.currentContext())
			return nil
		}}, newContextUpdate(a), &cobra.Command{Use: "use CONTEXT", Short: "Set the current context", Args: exactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
			if err := contexts.Open(a.env).Use(args[0]); err != nil {
				return err
			}
			a.printf("%s\n", args[0])
			a.warnf("Current context is now %q", args[0])
			if a.env("PIER_HOST") != "" {
				a.warnf("Warning: PIER_HOST environment variable overrides the active context. To use %q, unset PIER_HOST.", args[0])
			}
			return nil
		}})
}

// currentContext is the one that commands use, unless a host is named.
func (a *app) currentContext() string {
	if a.choice.Host != "" || a.choice.Context == "" && a.env("PIER_HOST") != "" {
		return contexts.Default
	}
	return cmp.Or(a.choice.Context, a.env("PIER_CONTEXT"), contexts.Open(a.env).Current())
}

// defaultContext is where pier goes when no context is named.
func (a *app) defaultContext() contexts.Context {
	host := cmp.Or(a.choice.Host, a.env("PIER_HOST"), client.DefaultHost)
	return contexts.Context{Name: contexts.Default, Metadata: contexts.Metadata{Description: "Current PIER_HOST based configuration"},
		Endpoints: map[string]contexts.Endpoint{contexts.Engine: {Host: host}}}
}

func newContextLs(a *app) *cobra.Command {
	var format string
	var quiet bool
	cmd := &cobra.Command{Use: "ls [OPTIONS]", Short: "List contexts", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		list, err := contexts.Open(a.env).List()
		if err != nil {
			return err
		}
		current := a.currentContext()
		rows := []row.Context{}
		for _, c := range append([]contexts.Context{a.defaultContext()}, list...) {
			rows = append(rows, row.Context{Current: c.Name == current, Description: c.Metadata.Description, DockerEndpoint: c.Endpoints[contexts.Engine].Host, Name: c.Name})
		}
		slices.SortFunc(rows, func(x, y row.Context) int { return strings.Compare(x.Name, y.Name) })
		if !slices.ContainsFunc(rows, func(r row.Context) bool { return r.Current }) {
			rows = append(rows, row.Context{Current: true, Name: current, Error: "context " + current + " does not exist"})
		}
		if quiet && format == "" {
			format = "{{.Name}}"
		}
		if format == "" || format == "table" {
			for i := range rows {
				rows[i] = rows[i].Marked()
			}
		}
		return table.Render(a.Out, format, "{{.Name}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}", row.ContextHead(), rows)
	}}
	cmd.Flags().StringVar(&format, "format", "", formatHelp)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only show context names")
	return cmd
}

func newContextInspect(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "inspect [OPTIONS] [CONTEXT] [CONTEXT...]", Short: "Display detailed information on one or more contexts", RunE: func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			args = []string{a.currentContext()}
		}
		store := contexts.Open(a.env)
		var found []table.Object
		for _, name := range args {
			c, err := a.defaultContext(), error(nil)
			if name != contexts.Default {
				c, err = store.Get(name)
			}
			if err != nil {
				return err
			}
			described, err := store.Describe(c)
			if err != nil {
				return err
			}
			raw, err := json.Marshal(described)
			if err != nil {
				return err
			}
			found = append(found, table.Object{Raw: raw})
		}
		return table.Objects(a.Out, format, found)
	}}
	cmd.Flags().StringVarP(&format, "format", "f", "", `Format output: "json" or a Go template`)
	return cmd
}

const endpointHelp = "Daemon's address: host=URL, and with TLS ca=FILE, cert=FILE, key=FILE, skip-tls-verify=true; or from=CONTEXT"

func newContextCreate(a *app) *cobra.Command {
	var description, from string
	var fields []string
	cmd := &cobra.Command{Use: "create [OPTIONS] CONTEXT", Short: "Create a context", Args: exactArgs(1),
		Example: "  pier context create far --docker host=ssh://me@far.example\n  pier -c far ps",
		RunE: func(_ *cobra.Command, args []string) error {
			store := contexts.Open(a.env)
			if err := contexts.CheckName(args[0]); err != nil {
				return err
			}
			if _, err := store.Get(args[0]); err == nil {
				return invalid("context %q already exists", args[0])
			}
			if from != "" && len(fields) > 0 {
				return invalid("cannot use --docker flag when --from is set")
			}
			if len(fields) == 0 {
				fields = []string{"from=" + cmp.Or(from, a.currentContext())}
			}
			c := contexts.Context{Name: args[0], Metadata: contexts.Metadata{Description: description}}
			return a.putContext(store, c, fields, "Successfully created context %q")
		}}
	cmd.Flags().StringVar(&description, "description", "", "Description of the context")
	cmd.Flags().StringVar(&from, "from", "", "Create context from a named context")
	cmd.Flags().VarP(request.ListOf("stringToString", &fields), "docker", "", endpointHelp)
	return cmd
}

func newContextUpdate(a *app) *cobra.Command {
	var description string
	var fields []string
	cmd := &cobra.Command{Use: "update [OPTIONS] CONTEXT", Short: "Update a context", Args: exactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		store := contexts.Open(a.env)
		if err := contexts.CheckName(args[0]); err != nil {
			return err
		}
		c, err := store.Get(args[0])
		if err != nil {
			return err
		}
		c.Metadata.Description = cmp.Or(description, c.Metadata.Description)
		return a.putContext(store, c, fields, "Successfully updated context %q")
	}}
	cmd.Flags().StringVar(&description, "description", "", "Description of the context")
	cmd.Flags().VarP(request.ListOf("stringToString", &fields), "docker", "", endpointHelp)
	return cmd
}

// putContext gives a context the endpoint that the fields of --docker describe, if any, and writes it.
func (a *app) putContext(store contexts.Store, c contexts.Context, fields []string, done string) error {
	var files map[string][]byte
	if len(fields) > 0 {
		endpoint, read, err := store.ReadEndpoint(fields, a.defaultContext().Endpoints[contexts.Engine])
		if err != nil {
			return err
		}
		files = read
		c.Endpoints = map[string]contexts.Endpoint{contexts.Engine: endpoint}
	}
	if err := store.Put(c, files); err != nil {
		return err
	}
	a.printf("%s\n", c.Name)
	a.warnf(done, c.Name)
	return nil
}

func newContextRm(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{Use: "rm CONTEXT [CONTEXT...]", Short: "Remove one or more contexts", Args: minArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		store := contexts.Open(a.env)
		return a.each(args, func(name string) error {
			if name == contexts.Default {
				return invalid(`context "default" cannot be removed`)
			}
			inUse := name == a.currentContext() || name == store.Current()
			if inUse && !force {
				return invalid("context %q is in use, set -f flag to force remove", name)
			}
			if err := store.Remove(name); err != nil || !inUse {
				return err
			}
			return store.Use(contexts.Default)
		})
	}}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the removal of a context in use")
	return cmd
}

func newContextExport(a *app) *cobra.Command {
	return &cobra.Command{Use: "export CONTEXT [FILE|-]", Short: "Export a context to a tar archive FILE or a tar stream on STDOUT", Args: rangeArgs(1, 2), RunE: func(_ *cobra.Command, args []string) error {
		store := contexts.Open(a.env)
		if len(args) == 2 && args[1] == "-" {
			if _, shown := terminal.Of(a.Out); shown {
				return invalid("cowardly refusing to export to a terminal, specify a file path")
			}
			return store.Export(args[0], a.Out)
		}
		to := args[0] + ".dockercontext"
		if len(args) == 2 {
			to = args[1]
		}
		f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := store.Export(args[0], f); err != nil {
			_ = f.Close()
			_ = os.Remove(to)
			return err
		}
		a.warnf("Written file %q", to)
		return f.Close()
	}}
}

func newContextImport(a *app) *cobra.Command {
	return &cobra.Command{Use: "import CONTEXT FILE|-", Short: "Import a context from a tar archive", Args: exactArgs(2), RunE: func(_ *cobra.Command, args []string) error {
		var archive io.Reader = a.In
		if args[1] != "-" {
			f, err := os.Open(args[1])
			if err != nil {
				return err
			}
			defer f.Close()
			archive = f
		}
		if err := contexts.Open(a.env).Import(args[0], archive); err != nil {
			return err
		}
		a.printf("%s\n", args[0])
		a.warnf("Successfully imported context %q", args[0])
		return nil
	}}
}
