//! What is asked of targets instead of building them, and what a plan says of checks.

use karman_build::{Answered, Call, PlanError, TargetSpec, call};
use karman_diag::ExitCode;

use crate::support::{Caller, inline, map, shown};

fn ask(targets: &[TargetSpec], method: Call) -> Result<Vec<Answered>, PlanError> {
    let mut caller = Caller::new();
    call(&caller.backend, targets, method, &caller.facts, &mut caller.session)
}

fn asked(targets: &[TargetSpec], method: Call) -> Vec<Answered> {
    ask(targets, method).unwrap_or_else(|e| panic!("{}", shown(&e)))
}

fn codes(planned: &[karman_diag::Diagnostic]) -> Vec<&str> {
    planned.iter().map(|w| w.code.as_str()).collect()
}

#[test]
fn a_check_answers_for_each_target() {
    let bad = inline("bad", "FROM scratch\nCMD echo\n");
    let answers = asked(&[bad, inline("good", "FROM scratch\n")], Call::Check);
    let seen: Vec<(&str, u8, bool)> =
        answers.iter().map(|a| (a.target.as_str(), a.code, a.error.is_some())).collect();
    assert_eq!(seen, [("bad", 1, false), ("good", 0, false)]);
    assert!(answers[0].text.contains("WARNING: JSONArgsRecommended - docs/checks/"));
}

#[test]
fn what_cannot_be_built_is_part_of_a_check() {
    let linked =
        TargetSpec { contexts: map(&[("base", "target:broken")]), ..inline("user", "FROM base\n") };
    let targets = [
        inline("broken", "FROM scratch AS Base\nRUM x\n"),
        linked,
        inline("lost", "FROM missing\n"),
        inline("strict", "# check=error=true\nFROM scratch\nCMD x\n"),
    ];
    let answers = asked(&targets, Call::Check);
    let error = |at: usize| answers[at].error.clone().expect("an error");
    assert!(answers[0].text.contains("StageNameCasing"), "{}", answers[0].text);
    assert!(error(0).0.contains("unknown instruction: RUM"), "{}", error(0).0);
    assert_eq!(error(0).1, ExitCode::Input);
    assert!(error(1).0.contains("a target that it uses cannot be built"));
    assert_eq!(error(2).1, ExitCode::Fetch);
    assert!(error(3).0.contains("lint violation found for rules: JSONArgsRecommended"));
    assert_eq!(error(3).1, ExitCode::Failure);
    assert!(answers.iter().all(|a| a.code == 1));
}

#[test]
fn questions_other_than_a_check_need_a_right_file() {
    let wrong = [inline("t", "FROM scratch\nRUM x\n")];
    for method in [Call::Outline, Call::Targets] {
        let error = ask(&wrong, method).expect_err("the file is wrong");
        assert!(shown(&error).contains("unknown instruction: RUM"));
    }
    assert!(asked(&wrong, Call::Describe)[0].text.starts_with("NAME "));
}

#[test]
fn stages_and_parameters_are_told() {
    let text = "ARG V=1\nFROM scratch AS a\nARG V\n\nFROM scratch AS b\n";
    let mut target = inline("t", text);
    assert!(asked(&[target.clone()], Call::Targets)[0].text.contains("b (default) "));
    target.stage = Some("a".to_owned());
    target.build_args.insert("V".to_owned(), Some("2".to_owned()));
    let outline = &asked(&[target], Call::Outline)[0];
    assert_eq!(
        outline.text,
        "TARGET: a\n\nBUILD ARG   VALUE   DESCRIPTION\nV           2       \n\n"
    );
    assert!(outline.json.contains("\"name\": \"V\""));
}

#[test]
fn a_plan_warns_once_however_often_a_file_is_lowered() {
    let mut first = inline("a", "FROM scratch\nCMD echo\nLABEL x=$x y=$x\n");
    for platform in ["linux/amd64", "linux/arm64"] {
        first.platforms.push(karman_oci::Platform::parse(platform).expect("a platform"));
    }
    let second = TargetSpec { name: "b".to_owned(), ..first.clone() };
    let planned = Caller::new().planned(&[first, second]);
    assert_eq!(codes(&planned.warnings), ["JSONArgsRecommended", "UndefinedVar"]);
}

#[test]
fn a_build_argument_configures_each_target() {
    let mut target = inline("a", "FROM scratch\nCMD echo\n");
    let arg = |text: &str| ("BUILDKIT_DOCKERFILE_CHECK".to_owned(), Some(text.to_owned()));
    target.build_args.extend([arg("skip=all")]);
    assert_eq!(codes(&Caller::new().planned(&[target.clone()]).warnings), [""; 0]);
    target.build_args.extend([arg("error=true")]);
    let error = Caller::new().plan(&[target]).expect_err("warnings are errors");
    assert_eq!(error.exit_code(), ExitCode::Failure);
    let PlanError::Diagnostics { warnings, .. } = &error else { panic!("{error}") };
    assert_eq!(codes(warnings), ["JSONArgsRecommended"]);
    let text = shown(&error);
    assert!(
        text.starts_with("ERROR: lint violation found for rules: JSONArgsRecommended\n"),
        "{text}"
    );
}

#[test]
fn warnings_come_before_an_error_of_the_syntax() {
    let error = Caller::new().plan(&[inline("a", "FROM scratch AS A\nRUM x\n")]);
    let error = error.expect_err("the file is wrong");
    let PlanError::Diagnostics { warnings, exit, .. } = &error else { panic!("{error}") };
    assert_eq!((codes(warnings), *exit), (vec!["StageNameCasing"], ExitCode::Input));
}
