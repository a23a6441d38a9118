// Command cyphonic-adapter is the gateway that makes general nodes members of the overlay.
package main

import "github.com/cyphonic/cyphonic/internal/program"

func main() { program.Main(execute) }
