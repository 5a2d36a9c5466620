// Command holdfast is the server and the operator's command line.
//
// It promises exit code 0 when what was asked is done, 1 when it was refused or
// went wrong, 2 when the command was wrong, and 3 when nothing happened yet
// because a second person has to agree; that errors go to standard error as a
// sentence and what to do about it; that a command that cannot be undone says
// what it will do and waits for a yes; and that a token goes to no server but the
// one it was made for, over TLS that was verified.
//
// Every subcommand but up and ca init reaches the server only through its API.
// It trusts the files it is pointed to: whoever can write DATA/run/ready.json,
// the file given as --ca, or the operator's profiles.json decides which server
// gets the operator's token; who can read profiles.json can act as the operator
// until they log out.
package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// run is the whole program, so that tests start it as the system does.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	a := newApp(stdin, stdout, stderr, env)
	return a.execute(root(a), args)
}

// root is the table of contents.
func root(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "holdfast",
		Short: "A root of trust for fleets of devices: inventory, certificates, message policy, revocation, audit",
	}
	a.globalFlags(cmd)
	cmd.CompletionOptions.DisableDefaultCmd = true
	section(cmd, "you", "Be somebody:",
		loginCommand(a),   // log in to a server, with a browser anywhere
		logoutCommand(a),  // end that
		accountCommand(a), // who you are, your sign-ins
		profileCommand(a), // servers that you logged in to
	)
	section(cmd, "server", "Run a server:",
		upCommand(a),       // everything on one machine
		statusCommand(a),   // how the server is
		overviewCommand(a), // how everything is, and what needs attention
		caCommand(a),       // authorities: init, list, bundle, rotate
	)
	section(cmd, "fleet", "Manage the fleet:",
		typeCommand(a),   // kinds of devices, their stages and manufacturers
		zoneCommand(a),   // groups with common security requirements
		deviceCommand(a), // the inventory, quarantine, revocation
	)
	section(cmd, "identity", "Give identities:",
		tokenCommand(a),   // permissions to enrol
		waitingCommand(a), // requests that wait for an operator
		certCommand(a),    // certificates one by one
		enrollCommand(a),  // be a device: enrol over EST
	)
	section(cmd, "messages", "Decide and watch what is said:",
		policyCommand(a),  // who may say what: plan, apply, test, explain
		appCommand(a),     // programs that use the data
		sessionCommand(a), // who is connected
		tapCommand(a),     // messages as they pass
		refusalCommand(a), // what was stopped
	)
	section(cmd, "access", "Decide who may do what:",
		personCommand(a),   // people
		clientCommand(a),   // programs that use the API
		roleCommand(a),     // sets of permissions, and who has them
		approvalCommand(a), // requests that wait for a second person
	)
	section(cmd, "proof", "Prove what happened:",
		auditCommand(a), // the transparency log: list, prove, verify, witness
	)
	cmd.AddCommand(versionCommand(a), completionCommand(a), manCommand(a))
	a.completing(cmd)
	return cmd
}

func section(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
	}
	root.AddCommand(commands...)
}
