// Command cyphonic-node is the agent of an end device.
package main

import "github.com/cyphonic/cyphonic/internal/program"

func main() { program.Main(execute) }
