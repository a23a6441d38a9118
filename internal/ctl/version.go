package ctl

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (c *command) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(c.Stdout, "cyphonicctl", buildVersion())
			return err
		},
	}
}

// buildVersion is the module version if the program was installed as a module, else the commit it was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	version := info.Main.Version
	if version == "" || version == "(devel)" {
		version = "devel"
	}
	if revision := settings["vcs.revision"]; revision != "" {
		version += " " + revision
	}
	if settings["vcs.modified"] == "true" {
		version += " (modified)"
	}
	return version + " " + info.GoVersion + " " + settings["GOOS"] + "/" + settings["GOARCH"]
}
