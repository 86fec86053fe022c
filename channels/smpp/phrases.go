package smpp

import "github.com/tocsin/tocsin/incident"

// languages are the phrases by language.
var languages = map[string]*phrases{
	"en": speak("Investigating", "Identified", "Monitoring", "Resolved",
		"Scheduled", "In progress", "Verifying", "Completed",
		"minor", "major", "critical", "maintenance"),
	"de": speak("Wird untersucht", "Ursache gefunden", "Wird beobachtet", "Behoben",
		"Geplant", "Läuft", "Wird geprüft", "Abgeschlossen",
		"gering", "erheblich", "kritisch", "Wartung"),
	"es": speak("En investigación", "Causa identificada", "En observación", "Resuelto",
		"Programado", "En curso", "En verificación", "Completado",
		"leve", "grave", "crítico", "mantenimiento"),
	"fr": speak("Analyse en cours", "Cause identifiée", "Sous surveillance", "Résolu",
		"Planifié", "En cours", "Vérification", "Terminé",
		"mineur", "majeur", "critique", "maintenance"),
	"it": speak("In analisi", "Causa individuata", "In osservazione", "Risolto",
		"Pianificato", "In corso", "In verifica", "Completato",
		"lieve", "grave", "critico", "manutenzione"),
	"nl": speak("In onderzoek", "Oorzaak gevonden", "Wordt gevolgd", "Opgelost",
		"Gepland", "Bezig", "Wordt gecontroleerd", "Voltooid",
		"klein", "groot", "kritiek", "onderhoud"),
	"pt": speak("Em análise", "Causa identificada", "Em monitoramento", "Resolvido",
		"Agendado", "Em andamento", "Em verificação", "Concluído",
		"leve", "grave", "crítico", "manutenção"),
}

// speak takes the words in the order of the statuses and impacts in package
// incident.
func speak(investigating, identified, monitoring, resolved, scheduled, inProgress, verifying, completed,
	minor, major, critical, maintenance string) *phrases {
	return &phrases{
		statuses: map[incident.Status]string{
			incident.Investigating: investigating, incident.Identified: identified,
			incident.Monitoring: monitoring, incident.Resolved: resolved,
			incident.Scheduled: scheduled, incident.InProgress: inProgress,
			incident.Verifying: verifying, incident.Completed: completed,
		},
		impacts: map[incident.Impact]string{
			incident.ImpactMinor: minor, incident.ImpactMajor: major,
			incident.ImpactCritical: critical, incident.ImpactMaintenance: maintenance,
		},
	}
}
