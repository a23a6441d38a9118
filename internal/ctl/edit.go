package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/api/client"
)

func (c *command) editCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "edit KIND NAME | KIND/NAME",
		Short: "Change a resource in an editor",
		Long: `Change a resource in an editor: $CYPHONIC_EDITOR, else $VISUAL, else $EDITOR, else vi. Only what was changed is sent, so that what others change at the same time stays.

What is refused comes back into the editor with the reasons as comments at the top; so does what somebody else has changed to something else meanwhile. To give up leave the
file as it is or empty it.`,
		Example: `  cyphonicctl edit node viewer
  EDITOR="code --wait" cyphonicctl edit accesspolicy/viewer-to-cameras`,
		Args:              cobra.RangeArgs(1, 2),
		Annotations:       formats("table,json,yaml,name"),
		ValidArgsFunction: c.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := targetsOf(args)
			if err != nil {
				return err
			}
			if len(targets) != 1 || targets[0].name == "" {
				return &usageError{errors.New("name one resource: KIND NAME or KIND/NAME")}
			}
			return c.withManager(func(manager *client.Client) error { return c.edit(cmd.Context(), manager, targets[0]) })
		},
	}
}

// editing is one resource on its way through the editor.
type editing struct {
	c       *command
	manager *client.Client
	target  target
	path    string         // of the file
	base    map[string]any // what the editor began with, as far as it may be changed
	known   map[string]any // the latest state that the user knows of
	version string         // resourceVersion of it
	text    []byte         // what goes into the editor, without the comments
	saved   bool           // the editor wrote the file
	faults  []string       // what was wrong with the last attempt, line by line
	last    error          // the same
	collide bool           // it was that somebody else changed the same fields
}

func (c *command) edit(ctx context.Context, manager *client.Client, t target) error {
	live, err := manager.Get(ctx, t.kind, t.name)
	if err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	directory, err := os.MkdirTemp("", "cyphonicctl-")
	if err != nil {
		return err
	}
	e := &editing{c: c, manager: manager, target: t, path: filepath.Join(directory, lower(t.kind.Name)+"-"+t.name+".yaml")}
	err = e.begin(live)
	if err == nil {
		err = e.run(ctx)
	}
	if err != nil && len(e.faults) > 0 {
		return fmt.Errorf("%w: your changes are in %s", err, e.path)
	}
	return errors.Join(err, os.RemoveAll(directory))
}

// editable is what of a resource may be changed: status and what the manager writes in the metadata are left out.
func editable(o api.Object) (map[string]any, error) {
	value, err := generic(o)
	if err != nil {
		return nil, err
	}
	fields := value.(map[string]any)
	delete(fields, "status")
	metadata, _ := fields["metadata"].(map[string]any)
	for name := range metadata {
		switch name {
		case "name", "labels", "annotations":
		default:
			delete(metadata, name)
		}
	}
	return fields, nil
}

func (e *editing) begin(live api.Object) (err error) {
	if e.base, err = editable(live); err != nil {
		return err
	}
	e.known, e.version = e.base, live.Meta().ResourceVersion
	e.text, err = encodeYAML(e.base)
	return err
}

// run goes through the editor until the change is taken or given up.
func (e *editing) run(ctx context.Context) error {
	for {
		before := e.text
		if err := e.open(ctx); err != nil {
			return err
		}
		same := bytes.Equal(before, e.text) && !(e.collide && e.saved)
		switch {
		case len(bytes.TrimSpace(e.text)) == 0, same && len(e.faults) == 0:
			fmt.Fprintln(e.c.Stderr, "Edit cancelled, nothing changed.")
			return nil
		case same:
			return e.last
		}
		e.faults, e.collide = nil, false
		patch, err := e.patch()
		if err == nil && patch == nil {
			fmt.Fprintln(e.c.Stderr, "Edit cancelled, nothing changed.")
			return nil
		}
		if err == nil {
			var after api.Object
			if after, err = e.send(ctx, patch); err == nil {
				return e.c.printVerdict(after, "edited")
			}
		}
		e.faults, e.last = faultLines(err), err
		if hopeless(err) || client.IsNotFound(err) {
			return err
		}
	}
}

// open shows the file with what was wrong as comments, and reads what is in it afterwards.
func (e *editing) open(ctx context.Context) error {
	var content bytes.Buffer
	fmt.Fprintf(&content, "# Change %s. Lines with # at their beginning are left out; an empty file changes nothing.\n", e.target)
	for _, fault := range e.faults {
		fmt.Fprintf(&content, "# %s\n", strings.ReplaceAll(printable(fault), "\n", " "))
	}
	content.WriteString("#\n")
	content.Write(e.text)
	if err := os.WriteFile(e.path, content.Bytes(), 0o600); err != nil {
		return err
	}
	before, err := os.Stat(e.path)
	if err != nil {
		return err
	}
	if err := e.c.runEditor(ctx, e.path); err != nil {
		return err
	}
	info, err := os.Stat(e.path)
	if err != nil {
		return err
	}
	e.saved = !info.ModTime().Equal(before.ModTime())
	if info.Size() > maxEdited {
		return fmt.Errorf("the file has %d bytes, at most %d can be sent", info.Size(), maxEdited)
	}
	edited, err := os.ReadFile(e.path)
	if err != nil {
		return err
	}
	e.text = nil
	for line := range bytes.Lines(edited) {
		if !bytes.HasPrefix(line, []byte("#")) {
			e.text = append(e.text, line...)
		}
	}
	return nil
}

func (c *command) runEditor(ctx context.Context, path string) error {
	editor := first(c.Getenv("CYPHONIC_EDITOR"), c.Getenv("VISUAL"), c.Getenv("EDITOR"))
	if editor == "" {
		editor = "vi"
		if runtime.GOOS == "windows" {
			editor = "notepad"
		}
	}
	words := strings.Fields(editor)
	run := exec.CommandContext(ctx, words[0], append(words[1:], path)...)
	run.Stdin, run.Stdout, run.Stderr = c.Stdin, behindScreen(c.Stdout), behindScreen(c.Stderr)
	if err := run.Run(); err != nil {
		return fmt.Errorf("the editor %s: %w", words[0], err)
	}
	return nil
}

// patch is what was changed as a merge patch, nil for nothing. What is wrong by itself never goes to the manager.
func (e *editing) patch() ([]byte, error) {
	text, err := yaml.YAMLToJSONStrict(e.text)
	if err != nil {
		return nil, &invalidError{err}
	}
	object, err := api.DecodeObject(text)
	if err != nil {
		return nil, &invalidError{err}
	}
	if object.KindName() != e.target.kind.Name || object.Meta().Name != e.target.name {
		return nil, &invalidError{fmt.Errorf("it is %s now: kind and name cannot be changed", nameOf(object))}
	}
	edited, err := editable(object)
	if err != nil {
		return nil, err
	}
	object.Default()
	if faults := object.Validate(); len(faults) > 0 {
		return nil, &invalidError{faults}
	}
	patch := mergePatch(e.base, edited)
	if len(patch) == 0 {
		return nil, nil
	}
	return json.Marshal(patch)
}

// send changes the resource as the user knows it. If somebody else has changed it meanwhile, but none of the same fields, it changes that.
func (e *editing) send(ctx context.Context, patch []byte) (api.Object, error) {
	for attempt := 0; ; attempt++ {
		after, err := e.manager.Patch(ctx, e.target.kind, e.target.name, patch, client.WriteOptions{IfMatch: e.version, FieldManager: fieldManagerOf("edit")})
		if client.StatusOf(err) != http.StatusPreconditionFailed || attempt == maxConflicts {
			return after, err
		}
		live, err := e.manager.Get(ctx, e.target.kind, e.target.name)
		if err != nil {
			return nil, err
		}
		now, err := editable(live)
		if err != nil {
			return nil, err
		}
		theirs := mergePatch(e.known, now)
		e.known, e.version = now, live.Meta().ResourceVersion
		if both := overlap(theirs, patch); len(both) > 0 {
			e.collide = true
			return nil, &conflictError{fmt.Errorf("somebody else has changed the same fields meanwhile, saving again overwrites them: %s", strings.Join(both, ", "))}
		}
	}
}

// overlap names the fields that two merge patches both change, differently.
func overlap(theirs map[string]any, patch []byte) []string {
	var mine map[string]any
	if err := json.Unmarshal(patch, &mine); err != nil {
		return []string{err.Error()}
	}
	var both []string
	var compare func(at string, a, b any)
	compare = func(at string, a, b any) {
		x, ok1 := a.(map[string]any)
		y, ok2 := b.(map[string]any)
		if !ok1 || !ok2 {
			if !equalJSON(a, b) {
				both = append(both, at)
			}
			return
		}
		for name := range x {
			if other, ok := y[name]; ok {
				compare(at+"/"+name, x[name], other)
			}
		}
	}
	compare("", theirs, mine)
	return both
}

func equalJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// mergePatch is what makes before into after (RFC 7386).
func mergePatch(before, after map[string]any) map[string]any {
	patch := map[string]any{}
	for name := range before {
		if _, ok := after[name]; !ok {
			patch[name] = nil
		}
	}
	for name, value := range after {
		old, existed := before[name]
		x, ok1 := old.(map[string]any)
		y, ok2 := value.(map[string]any)
		switch {
		case ok1 && ok2:
			if below := mergePatch(x, y); len(below) > 0 {
				patch[name] = below
			}
		case !existed || !reflect.DeepEqual(old, value):
			patch[name] = value
		}
	}
	return patch
}

// faultLines is one line for each fault.
func faultLines(err error) []string {
	var problem *client.ProblemError
	if errors.As(err, &problem) && len(problem.Problem.Errors) > 0 {
		lines := []string{first(problem.Problem.Detail, problem.Problem.Title)}
		for _, field := range problem.Problem.Errors {
			lines = append(lines, field.String())
		}
		return lines
	}
	var fields api.FieldErrors
	if errors.As(err, &fields) {
		var lines []string
		for _, field := range fields {
			lines = append(lines, field.String())
		}
		return lines
	}
	return strings.Split(err.Error(), "\n")
}
