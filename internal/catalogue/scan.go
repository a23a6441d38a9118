package catalogue

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// scanModule reads the metrics of all packages below root; tests are left out.
func scanModule(root string) ([]Metric, error) {
	folders := make(map[string][]string)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || slices.Contains([]string{"bin", "build", "testdata", "node_modules"}, entry.Name())):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".gen.go"):
			folders[filepath.Dir(path)] = append(folders[filepath.Dir(path)], path)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []Metric
	for folder, files := range folders {
		found, err := scanPackage(root, files)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", folder, err)
		}
		out = append(out, found...)
	}
	slices.SortFunc(out, func(a, b Metric) int { return strings.Compare(a.Name+" "+a.At, b.Name+" "+b.At) })
	return out, nil
}

func scanPackage(root string, files []string) ([]Metric, error) {
	set := token.NewFileSet()
	p := &packageScan{root: root, set: set, constants: make(map[string]ast.Expr), labels: make(map[string]ast.Expr), wrappers: make(map[string]*wrapper), done: make(map[ast.Node]bool)}
	slices.Sort(files)
	for _, name := range files {
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			return nil, err
		}
		if imports(file, "github.com/prometheus/client_golang/prometheus") {
			p.files = append(p.files, file)
		}
		p.collectConstants(file)
	}
	for _, file := range p.files {
		p.findWrappers(file)
	}
	for _, file := range p.files {
		p.declared(file)
	}
	return p.found, p.err
}

func imports(file *ast.File, path string) bool {
	return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return strings.Trim(i.Path.Value, `"`) == path })
}

// packageScan is the state of reading one package.
type packageScan struct {
	root      string
	set       *token.FileSet
	files     []*ast.File
	constants map[string]ast.Expr
	labels    map[string]ast.Expr // variables that hold constant labels
	wrappers  map[string]*wrapper // by name
	done      map[ast.Node]bool   // declarations inside of wrappers
	found     []Metric
	err       error
}

// wrapper is a function that makes a metric out of its parameters.
type wrapper struct {
	parameters []string
	variadic   bool
	calls      []*ast.CallExpr // of package prometheus, that declare metrics
}

func (p *packageScan) collectConstants(file *ast.File) {
	ast.Inspect(file, func(node ast.Node) bool {
		if a, ok := node.(*ast.AssignStmt); ok && len(a.Lhs) == 1 && len(a.Rhs) == 1 {
			p.noteLabels(a.Lhs[0], a.Rhs[0])
		}
		d, ok := node.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST {
			return true
		}
		for _, spec := range d.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				if i < len(v.Values) {
					p.constants[name.Name] = v.Values[i]
				}
			}
		}
		return true
	})
}

// noteLabels remembers a variable that is set to prometheus.Labels.
func (p *packageScan) noteLabels(left, right ast.Expr) {
	name, ok := left.(*ast.Ident)
	literal, isLiteral := right.(*ast.CompositeLit)
	if !ok || !isLiteral {
		return
	}
	if s, ok := literal.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Labels" {
		p.labels[name.Name] = literal
	}
}

// declaration tells whether a call declares a metric, and of which type; empty for a description, whose name decides.
func declaration(call *ast.CallExpr) (Type, bool) {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	if x, ok := s.X.(*ast.Ident); !ok || x.Name != "prometheus" {
		return "", false
	}
	switch s.Sel.Name {
	case "NewCounter", "NewCounterVec", "NewCounterFunc":
		return Counter, true
	case "NewGauge", "NewGaugeVec", "NewGaugeFunc", "NewUntypedFunc":
		return Gauge, true
	case "NewHistogram", "NewHistogramVec":
		return Histogram, true
	case "NewSummary", "NewSummaryVec":
		return Summary, true
	case "NewDesc":
		return "", true
	}
	return "", false
}

// findWrappers notes functions whose parameters are in the declaration of a metric.
func (p *packageScan) findWrappers(file *ast.File) {
	note := func(name string, t *ast.FuncType, body *ast.BlockStmt) {
		w := &wrapper{}
		for _, field := range t.Params.List {
			_, w.variadic = field.Type.(*ast.Ellipsis)
			for _, n := range field.Names {
				w.parameters = append(w.parameters, n.Name)
			}
		}
		ast.Inspect(body, func(node ast.Node) bool {
			if _, inner := node.(*ast.FuncLit); inner {
				return false
			}
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			if _, ok := declaration(call); ok && mentions(call, w.parameters) {
				w.calls = append(w.calls, call)
				p.done[call] = true
			}
			return true
		})
		if len(w.calls) > 0 {
			p.wrappers[name] = w
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.FuncDecl:
			if n.Body != nil {
				note(n.Name.Name, n.Type, n.Body)
			}
		case *ast.AssignStmt:
			for i, right := range n.Rhs {
				literal, ok := right.(*ast.FuncLit)
				if name, isName := n.Lhs[min(i, len(n.Lhs)-1)].(*ast.Ident); ok && isName {
					note(name.Name, literal.Type, literal.Body)
				}
			}
		}
		return true
	})
}

// mentions says whether one of the names stands in the parts of a declaration that say what the metric is.
func mentions(call *ast.CallExpr, names []string) bool {
	found := false
	for _, a := range call.Args {
		ast.Inspect(a, func(node ast.Node) bool {
			if kv, ok := node.(*ast.KeyValueExpr); ok {
				if key, ok := kv.Key.(*ast.Ident); ok && !slices.Contains([]string{"Name", "Help", "Namespace", "Subsystem"}, key.Name) {
					return false
				}
			}
			if x, ok := node.(*ast.Ident); ok && slices.Contains(names, x.Name) {
				found = true
			}
			return !found
		})
	}
	return found
}

// declared takes the metrics of a file: those that it declares itself and those that it makes with wrappers.
func (p *packageScan) declared(file *ast.File) {
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		if kind, ok := declaration(call); ok {
			if !p.done[call] {
				p.take(call, call, kind, nil)
			}
			return true
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			name = f.Sel.Name
		}
		w, ok := p.wrappers[name]
		if !ok {
			return true
		}
		for _, inner := range w.calls {
			kind, _ := declaration(inner)
			p.take(inner, call, kind, w.bind(call))
		}
		return true
	})
}

// bind gives the parameters of a wrapper their arguments.
func (w *wrapper) bind(call *ast.CallExpr) map[string][]ast.Expr {
	bound := make(map[string][]ast.Expr)
	for i, name := range w.parameters {
		switch {
		case i == len(w.parameters)-1 && w.variadic && len(call.Args) >= i:
			bound[name] = call.Args[i:]
		case i < len(call.Args):
			bound[name] = call.Args[i : i+1]
		}
	}
	return bound
}

// take reads one metric; at is where it is asked for.
func (p *packageScan) take(call, at *ast.CallExpr, kind Type, bound map[string][]ast.Expr) {
	r := reader{p: p, bound: bound}
	m := Metric{Type: kind}
	if s := call.Fun.(*ast.SelectorExpr).Sel.Name; s == "NewDesc" && len(call.Args) == 4 {
		m.Name, m.Help = r.text(call.Args[0]), r.text(call.Args[1])
		m.Labels = append(r.list(call.Args[2]), r.keys(call.Args[3])...)
		m.Type = Gauge
		if strings.HasSuffix(m.Name, "_total") {
			m.Type = Counter
		}
	} else {
		r.options(call.Args[0], &m)
		if strings.HasSuffix(s, "Vec") && len(call.Args) == 2 {
			m.Labels = append(m.Labels, r.list(call.Args[1])...)
		}
	}
	position := p.set.Position(at.Pos())
	file, err := filepath.Rel(p.root, position.Filename)
	if err != nil {
		file = position.Filename
	}
	m.At = fmt.Sprintf("%s:%d", filepath.ToSlash(file), position.Line)
	if r.unknown != nil && p.err == nil {
		p.err = fmt.Errorf("%s: what a metric is called, means and is labelled with must be written as literals, or handed as such to a function of the same package: %w", m.At, r.unknown)
	}
	p.found = append(p.found, m)
}

// reader evaluates expressions of literals, constants and bound parameters.
type reader struct {
	p       *packageScan
	bound   map[string][]ast.Expr
	unknown error
}

func (r *reader) fail(e ast.Expr) {
	if r.unknown == nil {
		r.unknown = fmt.Errorf("%s is not one", r.p.set.Position(e.Pos()))
	}
}

func (r *reader) options(e ast.Expr, m *Metric) {
	literal, ok := e.(*ast.CompositeLit)
	if !ok {
		r.fail(e)
		return
	}
	var parts [3]string
	for _, element := range literal.Elts {
		kv, ok := element.(*ast.KeyValueExpr)
		if !ok {
			r.fail(element)
			continue
		}
		switch kv.Key.(*ast.Ident).Name {
		case "Namespace":
			parts[0] = r.text(kv.Value)
		case "Subsystem":
			parts[1] = r.text(kv.Value)
		case "Name":
			parts[2] = r.text(kv.Value)
		case "Help":
			m.Help = r.text(kv.Value)
		case "ConstLabels":
			m.Labels = append(m.Labels, r.keys(kv.Value)...)
		}
	}
	m.Name = strings.Join(slices.DeleteFunc(parts[:], func(s string) bool { return s == "" }), "_")
}

// text evaluates an expression that is a text.
func (r *reader) text(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(x.Value); err == nil {
			return s
		}
	case *ast.ParenExpr:
		return r.text(x.X)
	case *ast.BinaryExpr:
		if x.Op == token.ADD {
			return r.text(x.X) + r.text(x.Y)
		}
	case *ast.Ident:
		if arguments, ok := r.bound[x.Name]; ok && len(arguments) == 1 {
			return (&reader{p: r.p}).inherit(r).text(arguments[0])
		}
		if value, ok := r.p.constants[x.Name]; ok {
			return r.text(value)
		}
	}
	r.fail(e)
	return ""
}

// inherit lets faults of the inner reader be those of the outer one: arguments are evaluated without the parameters of the wrapper.
func (r *reader) inherit(outer *reader) *reader {
	r.unknown = outer.unknown
	return r
}

// list evaluates an expression that is a list of texts.
func (r *reader) list(e ast.Expr) []string {
	switch x := e.(type) {
	case *ast.CompositeLit:
		var out []string
		for _, element := range x.Elts {
			out = append(out, r.text(element))
		}
		return out
	case *ast.Ident:
		if x.Name == "nil" {
			return nil
		}
		if arguments, ok := r.bound[x.Name]; ok {
			var out []string
			for _, a := range arguments {
				if literal, ok := a.(*ast.CompositeLit); ok {
					out = append(out, r.list(literal)...)
				} else if n, ok := a.(*ast.Ident); !ok || n.Name != "nil" {
					out = append(out, r.text(a))
				}
			}
			return out
		}
	}
	r.fail(e)
	return nil
}

// keys evaluates an expression that is a map of labels: only the names count.
func (r *reader) keys(e ast.Expr) []string {
	if x, ok := e.(*ast.Ident); ok {
		if x.Name == "nil" {
			return nil
		}
		if arguments, ok := r.bound[x.Name]; ok && len(arguments) == 1 {
			return (&reader{p: r.p}).inherit(r).keys(arguments[0])
		}
		if literal, ok := r.p.labels[x.Name]; ok {
			return r.keys(literal)
		}
	}
	literal, ok := e.(*ast.CompositeLit)
	if !ok {
		r.fail(e)
		return nil
	}
	var out []string
	for _, element := range literal.Elts {
		if kv, ok := element.(*ast.KeyValueExpr); ok {
			out = append(out, r.text(kv.Key))
		}
	}
	return out
}
