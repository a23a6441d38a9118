// Command bundle-openapi writes the specification that the code generator reads: `bundle-openapi ROOT OUT`. It is run by go generate and is not installed.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyphonic/cyphonic/openapi/bundle"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bundle-openapi ROOT OUT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "bundle-openapi:", err)
		os.Exit(1)
	}
}

func run(root, out string) error {
	document, err := bundle.Bundle(os.DirFS(filepath.Dir(root)), filepath.Base(root))
	if err != nil {
		return err
	}
	return os.WriteFile(out, document, 0o644)
}
