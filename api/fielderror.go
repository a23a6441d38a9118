package api

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxFieldErrors is the number of faults reported for one document; the rest is left out.
const MaxFieldErrors = 32

// FieldErrors are the faults of one document in the order of its fields. Nil means that there are none.
type FieldErrors []FieldError

// Error has one fault per clause, for logs and for people.
func (e FieldErrors) Error() string {
	clauses := make([]string, len(e))
	for i, fault := range e {
		clauses[i] = fault.String()
	}
	return strings.Join(clauses, "; ")
}

// Err returns e as an error, nil if there are no faults.
func (e FieldErrors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// String is the pointer, a colon and the detail; a fault of the whole document has no pointer.
func (e FieldError) String() string {
	if e.Pointer == "" {
		return e.Detail
	}
	return e.Pointer + ": " + e.Detail
}

// faults collects FieldErrors up to the bound.
type faults struct{ list FieldErrors }

func (f *faults) add(at pointer, format string, args ...any) {
	if len(f.list) < MaxFieldErrors {
		f.list = append(f.list, FieldError{Pointer: string(at), Detail: fmt.Sprintf(format, args...)})
	}
}

// pointer is a JSON pointer (RFC 6901).
type pointer string

func (p pointer) key(name string) pointer {
	if strings.ContainsAny(name, "~/") { // few have them, and every member of every document comes here
		name = strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	}
	return p + "/" + pointer(name)
}

func (p pointer) index(i int) pointer { return p + "/" + pointer(strconv.Itoa(i)) }
