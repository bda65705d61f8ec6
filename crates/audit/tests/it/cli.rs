//! The command line's part, as far as it needs no installation.

use module::{CliError, ControlClient, Output, OutputOptions, Session};

#[tokio::test]
async fn without_an_installation_it_says_so() {
    let verb = audit::verbs().into_iter().find(|verb| verb.name == "audit").unwrap();
    for line in [vec!["audit", "verify"], vec!["audit", "events"], vec!["audit", "export", "--format", "csv"]]
    {
        let matches = (verb.command)().try_get_matches_from(line).unwrap();
        let (output, _) = Output::captured(OutputOptions::default(), "");
        let client = ControlClient::unavailable(CliError::failure("nothing runs here"));
        let folder = std::path::PathBuf::new();
        let credentials = module::Credentials::new(None, base::SystemClock::shared());
        let (project_dir, data_dir) = (folder.clone(), folder);
        let session = Session { client, output, yes: false, project_dir, data_dir, credentials };
        let error = (verb.run)(matches, session).await.unwrap_err();
        assert_eq!(error.message, "nothing runs here");
    }
}
