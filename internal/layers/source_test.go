package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	maxFunctionLines = 70
	maxFileLines     = 500
)

// source is one parsed package with test files.
type source struct {
	listedPackage
	set   *token.FileSet
	files []*ast.File
}

// parse reads the named files of a package; a name that is not absolute is taken in the package's folder.
func parse(t *testing.T, p listedPackage, names []string) source {
	t.Helper()
	s := source{listedPackage: p, set: token.NewFileSet()}
	for _, name := range names {
		file, err := parser.ParseFile(s.set, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, file)
	}
	return s
}

// parseText makes a package of one file out of text, to test the rules themselves.
func parseText(t *testing.T, text string) source {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "text.go", "package text\n"+text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return source{set: set, files: []*ast.File{file}}
}

func (s source) at(node ast.Node) string {
	position := s.set.Position(node.Pos())
	return fmt.Sprintf("%s:%d", position.Filename, position.Line)
}

// impurities finds what a core must not have: sockets, files, goroutines, the clock, randomness it was not given.
func (s source) impurities() []string {
	var found []string
	banned := []string{"net", "os", "os/exec", "os/signal", "syscall", "net/http", "crypto/tls", "log", "golang.org/x/sys/unix", "golang.org/x/net/ipv4", "golang.org/x/net/ipv6"}
	clock := []string{"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until"}
	for _, file := range s.files {
		for _, spec := range file.Imports {
			if path := strings.Trim(spec.Path.Value, `"`); slices.Contains(banned, path) {
				found = append(found, s.at(spec)+" imports "+path)
			}
		}
		ast.Inspect(file, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.GoStmt:
				found = append(found, s.at(n)+" starts a goroutine")
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
					found = append(found, s.at(n)+" reads the clock: time."+n.Sel.Name)
				}
			}
			return true
		})
	}
	return found
}

func TestCoresArePure(t *testing.T) {
	checked := 0
	for _, p := range modulePackages(t) {
		names := p.GoFiles
		if !within(p.short(), "internal/wire", "internal/tunnel", "internal/signaling", "internal/path") {
			names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name != "core.go" })
		}
		checked += len(names)
		for _, impurity := range parse(t, p, names).impurities() {
			t.Errorf("%s: a core has no sockets, files, goroutines or clock", impurity)
		}
	}
	if checked < 10 {
		t.Errorf("only %d files checked", checked)
	}
}

// foreignSystemCalls finds uses of package syscall that are more than names of signals and errors, and of what the system says of a file.
func (s source) foreignSystemCalls() []string {
	var found []string
	for _, file := range s.files {
		ast.Inspect(file, func(node ast.Node) bool {
			n, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := n.X.(*ast.Ident)
			name := n.Sel.Name
			isErrno := len(name) > 1 && name[0] == 'E' && strings.ToUpper(name) == name
			if ok && x.Name == "syscall" && !strings.HasPrefix(name, "SIG") && !isErrno && name != "Errno" && name != "Signal" && name != "Stat_t" {
				found = append(found, s.at(n)+" calls syscall."+name)
			}
			return true
		})
	}
	return found
}

func TestSystemCallsHaveTheirPlaces(t *testing.T) {
	places := []string{"internal/tun", "internal/udp", "internal/lab", "internal/netconf", "services/speaker/netfilter", "adapter/lan"}
	for _, p := range modulePackages(t) {
		if within(p.short(), places...) {
			continue
		}
		for _, call := range parse(t, p, p.GoFiles).foreignSystemCalls() {
			if p.short() == "manager/store/etcd" && (strings.HasSuffix(call, ".Flock") || strings.Contains(call, ".LOCK_")) {
				continue // the lock on its own data directory
			}
			t.Errorf("%s: system calls belong to %v", call, places)
		}
	}
}

// noImports resolves no import: the rule about globals needs only names declared in the package itself.
type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	return nil, fmt.Errorf("%s is not needed", path)
}

var _ types.Importer = noImports{}

// mutableGlobals finds init functions, package variables that are assigned after their declaration, and package
// variables that exist to be changed (locks, pools, atomics).
func (s source) mutableGlobals() []string {
	var found []string
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: noImports{}, Error: func(error) {}}
	checked, _ := config.Check("text", s.set, s.files, info) // errors come from the missing imports
	isGlobal := func(expr ast.Expr) bool {
		for {
			switch e := expr.(type) {
			case *ast.IndexExpr:
				expr = e.X
			case *ast.SelectorExpr:
				expr = e.X
			case *ast.ParenExpr:
				expr = e.X
			case *ast.Ident:
				variable, ok := info.Uses[e].(*types.Var)
				return ok && checked != nil && variable.Parent() == checked.Scope()
			default:
				return false
			}
		}
	}
	for _, file := range s.files {
		for _, declaration := range file.Decls {
			found = append(found, s.declarationFaults(declaration)...)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE && slices.ContainsFunc(n.Lhs, isGlobal) {
					found = append(found, s.at(n)+" assigns to a package variable")
				}
			case *ast.IncDecStmt:
				if isGlobal(n.X) {
					found = append(found, s.at(n)+" changes a package variable")
				}
			}
			return true
		})
	}
	return found
}

func (s source) declarationFaults(declaration ast.Decl) []string {
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil && d.Name.Name == "init" {
			return []string{s.at(d) + " has an init function"}
		}
	case *ast.GenDecl:
		if d.Tok != token.VAR {
			return nil
		}
		for _, spec := range d.Specs {
			kind, ok := spec.(*ast.ValueSpec).Type.(*ast.SelectorExpr)
			if !ok {
				continue
			}
			if x, ok := kind.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
				return []string{s.at(spec) + " is a " + x.Name + "." + kind.Sel.Name + " shared by the whole package"}
			}
		}
	}
	return nil
}

// generated tells whether the file says so in the agreed way.
func generated(file *ast.File, name string) bool {
	return strings.HasSuffix(name, ".gen.go") || ast.IsGenerated(file)
}

func TestNoInitAndNoMutableGlobals(t *testing.T) {
	for _, p := range modulePackages(t) {
		names := slices.DeleteFunc(slices.Clone(p.GoFiles), func(name string) bool { return strings.HasSuffix(name, ".gen.go") })
		for _, fault := range parse(t, p, names).mutableGlobals() {
			t.Errorf("%s: state is passed in, not global", fault)
		}
	}
}

// oversizes finds functions and files longer than the house style allows.
func (s source) oversizes() []string {
	var found []string
	for _, file := range s.files {
		position := s.set.Position(file.FileEnd)
		if generated(file, position.Filename) {
			continue
		}
		if position.Line > maxFileLines+1 {
			found = append(found, fmt.Sprintf("%s has %d lines, a file has at most %d", position.Filename, position.Line-1, maxFileLines))
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := s.set.Position(function.End()).Line - s.set.Position(function.Pos()).Line + 1
			if lines > maxFunctionLines {
				found = append(found, fmt.Sprintf("%s: %s has %d lines, a function has at most %d", s.at(function), function.Name.Name, lines, maxFunctionLines))
			}
		}
	}
	return found
}

func TestFunctionsAndFilesStayShort(t *testing.T) {
	for _, p := range modulePackages(t) {
		names := slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles)
		for _, fault := range parse(t, p, names).oversizes() {
			t.Error(fault)
		}
	}
}

func TestMainsAreShort(t *testing.T) {
	checked := 0
	for _, p := range modulePackages(t) {
		if !within(p.short(), "cmd") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(p.Dir, "main.go"))
		if err != nil {
			t.Errorf("%s: %v", p.short(), err)
			continue
		}
		checked++
		if lines := strings.Count(string(data), "\n"); lines > 100 {
			t.Errorf("%s/main.go has %d lines, want at most 100: map flags to options and call Run", p.short(), lines)
		}
	}
	if checked == 0 {
		t.Error("no program found")
	}
}

func TestTheRulesFindWhatTheyForbid(t *testing.T) {
	long := "func long() {\n" + strings.Repeat("\t_ = 1\n", maxFunctionLines) + "}\n"
	for _, row := range []struct {
		name, text string
		rule       func(source) []string
		want       int
	}{
		{"goroutine, clock, socket", "import (\"net\"; \"time\")\nvar _ net.Conn\nfunc f() { go f(); _ = time.Now() }", source.impurities, 3},
		{"a time passed in", "import (\"net/netip\"; \"time\")\nfunc f(now time.Time, a netip.Addr) time.Time { return now.Add(time.Second) }", source.impurities, 0},
		{"system call", "import \"syscall\"\nfunc f() { syscall.Sync() }", source.foreignSystemCalls, 1},
		{"names of signals and errors", "import \"syscall\"\nvar _ = syscall.SIGTERM\nvar _ error = syscall.EAGAIN", source.foreignSystemCalls, 0},
		{"init", "func init() {}", source.mutableGlobals, 1},
		{"assigned global", "var x int\nfunc f() { x = 1 }", source.mutableGlobals, 1},
		{"counted global", "var x = map[string]int{}\nfunc f() { x[\"a\"]++ }", source.mutableGlobals, 1},
		{"lock", "import \"sync\"\nvar mu sync.Mutex", source.mutableGlobals, 1},
		{"constant table and shadow", "var x = []int{1}\nfunc f() int { x := 2; x = 3; return x }", source.mutableGlobals, 0},
		{"long function", long, source.oversizes, 1},
		{"long file", strings.Repeat("\n", maxFileLines+1), source.oversizes, 1},
		{"long function that says in the wrong place that it is generated", "// Code generated by hand. DO NOT EDIT.\n" + long, source.oversizes, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			if found := row.rule(parseText(t, row.text)); len(found) != row.want {
				t.Errorf("found %q, want %d", found, row.want)
			}
		})
	}
}
