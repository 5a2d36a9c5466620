package adminapi

import (
	"time"

	"github.com/holdfast-iot/holdfast/access"
)

// The examples of people and their accounts.
var (
	examplePersonInput = PersonInput{Name: "maria@example.com", Display: "Maria Example", Mail: "maria@example.com"}
	examplePerson      = access.Person{ID: "p4k2m9qd7xna3bfeh", Name: "maria@example.com", Display: "Maria Example", Mail: "maria@example.com", State: access.PersonActive,
		Origin: "local", CreatedAt: exampleTime, EnabledAt: exampleTime, SignedInAt: exampleTime, Version: 3}
	exampleInvited = Invited{Person: access.Person{ID: examplePerson.ID, Name: examplePerson.Name, Display: examplePerson.Display, Mail: examplePerson.Mail, State: access.PersonInvited,
		Origin: "local", CreatedAt: exampleTime, Version: 1}, Link: "https://holdfast.example.com/invitation#hfi_...", ExpiresAt: exampleTime.Add(24 * time.Hour)}
	exampleFactors = PersonFactors{Password: true, PasswordAt: exampleTime, TOTP: true, Passkeys: []Passkey{{ID: "AQIDBA", Name: "work laptop", CreatedAt: exampleTime, UsedAt: exampleTime}},
		RecoveryCodes: 9}
	exampleSignIn = SignIn{ID: "q7mzk3a2bfxe9hgt", Kind: "console", Stage: "full", Methods: []string{"passkey"}, Strong: true, CreatedAt: exampleTime, SeenAt: exampleTime, FreshAt: exampleTime,
		ExpiresAt: exampleTime.Add(time.Hour), Source: "192.0.2.17", Device: "Firefox on Windows", Own: true}
	exampleAccount = OwnAccount{Kind: access.Human, ID: string(examplePerson.ID), Name: examplePerson.Display, Person: &examplePerson, Factors: &exampleFactors, Roles: []string{"viewer"},
		Permissions: []access.Permission{access.DeviceRead}, Method: "passkey", Strong: true, FreshUntil: exampleTime.Add(5 * time.Minute), SignIn: exampleSignIn.ID}
	exampleTOTP      = TOTPSetup{URI: "otpauth://totp/Holdfast:maria?secret=...", Secret: "ABCD EFGH ...", SVG: "<svg>...</svg>", Flow: "q83v..."}
	exampleChallenge = Challenge{Options: map[string]any{"publicKey": map[string]any{"challenge": "3q2-7w"}}, Flow: "q83v..."}
)
