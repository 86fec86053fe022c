package layout

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestExportedNamesAreDocumented wants a comment for each package and for each
// name it exports: functions, types, their methods and fields, constants and
// variables. Names that stand together may share one.
func TestExportedNamesAreDocumented(t *testing.T) {
	root := filepath.Join("..", "..")
	set := token.NewFileSet()
	packages := make(map[string]bool) // folder → has a package comment
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && name != ".." && (strings.HasPrefix(name, ".") || name == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(set, file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		folder := filepath.Dir(file)
		packages[folder] = packages[folder] || f.Doc != nil
		if ast.IsGenerated(f) {
			return nil
		}
		for _, bare := range undocumented(set, f) {
			t.Error(strings.TrimPrefix(bare, root+string(filepath.Separator)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range slices.Sorted(maps.Keys(packages)) {
		if !packages[folder] {
			t.Errorf("%s: the package has no comment", strings.TrimPrefix(folder, root+string(filepath.Separator)))
		}
	}
	if len(packages) < 10 {
		t.Errorf("only %d packages were found", len(packages))
	}
}

// undocumented lists the exported names of f that have no comment, with their
// places.
func undocumented(set *token.FileSet, f *ast.File) []string {
	var bare []string
	report := func(name *ast.Ident, of string) {
		bare = append(bare, fmt.Sprintf("%s: %s%s has no comment", set.Position(name.Pos()), of, name.Name))
	}
	for _, declaration := range f.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			switch receiver := receiverOf(d); {
			case !d.Name.IsExported() || d.Doc != nil:
			case d.Recv == nil:
				report(d.Name, "")
			case ast.IsExported(receiver):
				report(d.Name, receiver+".")
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if !s.Name.IsExported() {
						continue
					}
					documented := d.Doc != nil || s.Doc != nil || s.Comment != nil
					if !documented {
						report(s.Name, "")
					}
					reportMembers(set, s, documented, report)
				case *ast.ValueSpec:
					if d.Doc != nil || s.Doc != nil || s.Comment != nil {
						continue
					}
					for _, name := range s.Names {
						if name.IsExported() {
							report(name, "")
						}
					}
				}
			}
		}
	}
	return bare
}

// receiverOf names the type that a method is of.
func receiverOf(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	for of := d.Recv.List[0].Type; ; {
		switch e := of.(type) {
		case *ast.StarExpr:
			of = e.X
		case *ast.IndexExpr:
			of = e.X
		case *ast.IndexListExpr:
			of = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// reportMembers looks at the fields of a struct and the methods of an interface.
// One without a comment shares that of those just above, the first ones that of
// their type: a comment that only repeats the name is worth nothing.
func reportMembers(set *token.FileSet, s *ast.TypeSpec, shared bool, report func(*ast.Ident, string)) {
	var fields *ast.FieldList
	switch body := s.Type.(type) {
	case *ast.StructType:
		fields = body.Fields
	case *ast.InterfaceType:
		fields = body.Methods
	default:
		return
	}
	last := set.Position(fields.Opening).Line
	for _, field := range fields.List {
		if set.Position(field.Pos()).Line > last+1 {
			shared = false
		}
		shared = shared || field.Doc != nil || field.Comment != nil
		last = set.Position(field.End()).Line
		for _, name := range field.Names {
			if name.IsExported() && !shared {
				report(name, s.Name.Name+".")
			}
		}
	}
}

func TestUndocumentedNamesAreFound(t *testing.T) {
	const source = `package p

type A struct {
	B int
	// C is documented, and D with it.
	C int
	D int

	E int
}

func (*A) F() {}

// G is documented, and H with it.
type G interface {
	H()

	O()
}

const I, j = 1, 2

func K() {}

type l struct{ M int }

func (l) N() {}
`
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "p.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, bare := range undocumented(set, f) {
		names = append(names, strings.Fields(bare)[1])
	}
	if got, want := strings.Join(names, " "), "A A.B A.E A.F G.O I K"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
}
