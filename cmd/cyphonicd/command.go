package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/manager/rest"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // while starting or running
	exitUsage   = 2 // wrong arguments or configuration
)

const defaultConfigPath = "/etc/cyphonic/cyphonicd.yaml"

// usageError is a fault in the arguments or the configuration.
type usageError struct{ error }

// flags are the options of all verbs.
type flags struct {
	config        string
	etcdEndpoints []string
	logFormat     string
	logLevel      string
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(stderr, "cyphonicd:", err)
	if errors.As(err, new(runError)) {
		return exitFailure
	}
	return exitUsage
}

// runError is a fault of a service that had been started; everything else that
// a verb returns is a usage error.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use: "cyphonicd", Short: "The cloud services of CYPHONIC",
		Long: `The cloud services of CYPHONIC: manager, AS, NMS and TRS.

Exit codes: 0 ended by SIGTERM or SIGINT, 1 failed, 2 wrong arguments or configuration.`,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("a verb is needed: all, manager, as, nms, trs, config or version (--help explains)")}
		},
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	p := root.PersistentFlags()
	p.StringVar(&f.config, "config", defaultConfigPath, "configuration file, as cyphonicctl init writes it")
	p.StringSliceVar(&f.etcdEndpoints, "etcd-endpoints", nil, "URLs of an etcd cluster, instead of etcd.endpoints of the configuration")
	p.StringVar(&f.logFormat, "log-format", "text", "text or json")
	p.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	root.AddCommand(serviceCommand("all", "Run all services in one process", cloudconfig.Services(), &f, stderr))
	for _, s := range cloudconfig.Services() {
		root.AddCommand(serviceCommand(s, "Run only the "+title(s), []string{s}, &f, stderr))
	}
	root.AddCommand(configCommand(&f, stdout), versionCommand(stdout))
	return root
}

// title is how a service is called in texts.
func title(service string) string {
	if service == cloudconfig.ServiceManager {
		return service
	}
	return strings.ToUpper(service)
}

func serviceCommand(name, short string, services []string, f *flags, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(stderr, f.logFormat, f.logLevel)
			if err != nil {
				return usageError{err}
			}
			cfg, material, err := load(f, services)
			if err != nil {
				return usageError{err}
			}
			cloud, err := newCloud(cmd.Context(), cloudOptions{cfg, material, services, log})
			if err != nil {
				return runError{err}
			}
			if err := cloud.run(cmd.Context()); err != nil {
				return runError{err}
			}
			log.Info("stopped")
			return nil
		},
	}
}

func load(f *flags, services []string) (cloudconfig.Config, *cloudconfig.Material, error) {
	cfg, err := cloudconfig.Load(f.config)
	if err != nil {
		return cfg, nil, err
	}
	if len(f.etcdEndpoints) > 0 {
		cfg.Etcd.Endpoints = f.etcdEndpoints
	}
	material, err := cfg.Check(services, time.Now())
	if err != nil {
		return cfg, nil, fmt.Errorf("configuration %s:\n%w", f.config, err)
	}
	if slices.Contains(services, cloudconfig.ServiceManager) {
		if err := rest.CheckAdminTokenHash(material.AdminTokenHash); err != nil {
			return cfg, nil, fmt.Errorf("configuration %s:\nmanager.adminTokenHashFile: %w", f.config, err)
		}
	}
	if len(cfg.Etcd.Endpoints) > 0 {
		if err := endpointsOf(cfg).Check(); err != nil {
			return cfg, nil, fmt.Errorf("configuration %s:\netcd: %w", f.config, err)
		}
	}
	return cfg, material, nil
}

func endpointsOf(cfg cloudconfig.Config) etcd.Endpoints {
	e := cfg.Etcd
	return etcd.Endpoints{URLs: e.Endpoints, CAFile: e.CAFile, CertificateFile: e.CertificateFile, KeyFile: e.KeyFile}
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is not debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q is not text or json", format)
}

func configCommand(f *flags, stdout io.Writer) *cobra.Command {
	config := &cobra.Command{
		Use: "config", Short: "About the configuration file", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usageError{errors.New("config needs a verb: validate")} },
	}
	services := cloudconfig.Services()
	validate := &cobra.Command{
		Use: "validate", Short: "Check the configuration and the files it names", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if _, _, err := load(f, services); err != nil {
				return usageError{err}
			}
			_, err := fmt.Fprintf(stdout, "%s is valid\n", f.config)
			return err
		},
	}
	validate.Flags().StringSliceVar(&services, "services", services, "the services that the configuration is for")
	config.AddCommand(validate)
	return config
}

func versionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, "cyphonicd", version())
			return err
		},
	}
}

// version is what the Go toolchain recorded about the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" || s.Key == "vcs.modified" && s.Value == "true" {
			text += " " + s.Key + "=" + s.Value
		}
	}
	return text + " " + info.GoVersion
}
